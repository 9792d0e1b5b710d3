//! Interoperation tests of grotto's session layer with matrix-sdk-crypto.
