//! Tests of the parts of a verification, against vectors and against chance. Whole verifications
//! between machines are tested in `e2ee/tests/verification`.

mod codes;
mod model;
mod sides;
mod vectors;
