//! One encrypted file per account: the only durable state.
