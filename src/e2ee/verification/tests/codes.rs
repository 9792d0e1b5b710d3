//! Scanned bytes: whatever they are.

use proptest::prelude::*;

use super::sides::users;
use crate::e2ee::verification::{
    keys::{Bound, Side},
    qr::{self, QrData, Shown, USUAL_SECRET},
};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let random = prop::collection::vec(any::<u8>(), 0..300);
    let headed = (random.clone(), 0_u8..4, 0_u8..5, 0_u16..80).prop_map(
        |(mut rest, version, mode, length)| {
            let mut bytes = b"MATRIX".to_vec();
            bytes.extend([version, mode]);
            bytes.extend(length.to_be_bytes());
            bytes.append(&mut rest);
            bytes
        },
    );
    prop_oneof![random, headed]
}

fn shown(flow: &str) -> (Bound, Vec<u8>) {
    let (alice, bob) = users();
    (bob, Shown::new(&alice, flow, &[7; USUAL_SECRET]).unwrap().bytes)
}

proptest! {
    // T-88
    #[test]
    fn any_bytes_are_read_back_as_they_are_or_refused(bytes in bytes()) {
        if let Some(data) = QrData::decode(&bytes) {
            prop_assert_eq!(data.encode(), bytes);
        }
    }

    // T-88
    #[test]
    fn bytes_that_nobody_showed_verify_nothing(bytes in bytes()) {
        let (bound, _) = users();
        prop_assert!(qr::scan(&bytes, "$flow", &bound).is_err());
    }

    // T-88
    #[test]
    fn a_code_that_was_changed_before_its_secret_verifies_nothing(at in 0_usize..79, bit in 0_u8..8) {
        let (bound, mut bytes) = shown("$flow");
        prop_assert!(qr::scan(&bytes, "$flow", &bound).is_ok());
        bytes[at] ^= 1 << bit;
        prop_assert!(qr::scan(&bytes, "$flow", &bound).is_err());
    }

    // T-88
    #[test]
    fn a_code_that_was_cut_is_refused(length in 0_usize..86) {
        let (bound, bytes) = shown("$flow");
        prop_assert!(qr::scan(&bytes[..length], "$flow", &bound).is_err());
    }

    // T-88
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        drop(qr::from_text(&text));
    }
}

#[test]
fn a_code_for_others_is_refused_by_name_of_the_verification_and_by_keys() {
    let (bound, bytes) = shown("$flow");
    assert!(qr::scan(&bytes, "$flox", &bound).is_err());
    let swapped = Bound { us: bound.them.clone(), them: bound.us.clone(), ..bound.clone() };
    assert!(qr::scan(&bytes, "$flow", &swapped).is_err());
    let own = |side: &Side| Side { user: bound.us.user.clone(), ..side.clone() };
    let own = Bound { them: own(&bound.them), ..bound.clone() };
    assert!(qr::scan(&bytes, "$flow", &own).is_err());
}
