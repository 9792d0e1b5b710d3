//! `grotto serve` beside Synapse: the same random calls at both, and what they answer compared.
//!
//! `GROTTO_DIFFER_SEED` gives another seed, `GROTTO_DIFFER_CALLS` another number of calls,
//! `GROTTO_DIFFER_TRACE` every call, `GROTTO_DIFFER_USES` what the list was used for. Every difference that is meant stands in `allowed.rs` with its reason, and in
//! `docs/serve-differences.md`.

mod allowed;
mod call;
mod compare;
mod generate;
mod page;
mod pair;
pub(crate) mod random;
mod report;

use std::time::Instant;

use self::{generate::World, pair::Pair, random::Random, report::Report};

/// Calls of a run that nobody asked more of.
const CALLS: usize = 1_500;
/// Random calls of one sequence, before all that came of it is compared.
const SEQUENCE: usize = 110;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn serve_answers_as_synapse_does_or_as_the_list_of_differences_says() {
    let first = setting("GROTTO_DIFFER_SEED", 20_261_122);
    let calls = usize::try_from(setting("GROTTO_DIFFER_CALLS", CALLS as u64)).unwrap();
    let start = Instant::now();
    let mut pair = Pair::start();
    let mut report = Report::default();
    let mut seed = first;
    while report.calls < calls {
        sequence(&mut pair, &mut report, seed);
        seed += 1;
    }
    eprintln!(
        "differ: {} calls at both, seeds {first}..{seed}, {:?}; {}",
        report.calls,
        start.elapsed(),
        report.allowed_text(),
    );
    assert!(report.is_clean(), "seeds {first}..{seed}\n{report}");
}

/// One sequence: four people, a few rooms, random calls, and then what each of them sees.
fn sequence(pair: &mut Pair, report: &mut Report, seed: u64) {
    let mut world = World::new(Random::new(seed));
    pair.begin(seed, &world.people());
    for number in 0..SEQUENCE {
        let call = world.next_call();
        if !pair.can(&call) {
            continue;
        }
        let made = pair.make(&call);
        let have_parted = call.method != "GET" && made.synapse.has_parted_from(&made.serve);
        let have_parted = have_parted || pair.has_left_half_a_room(&made);
        report.add(seed, number, made);
        if have_parted {
            // From here on their rooms are not the same.
            return;
        }
    }
    for (number, call) in world.probes().into_iter().enumerate() {
        report.add(seed, SEQUENCE + number, pair.make(&call));
    }
}
