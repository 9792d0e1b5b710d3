//! Tests of whole verifications.
