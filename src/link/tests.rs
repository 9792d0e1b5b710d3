//! The link against a clock that the tests turn.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    matrix::Position,
    time::Timestamp,
    wire::{ClientFrame, ErrorFrame, ServerFrame, UpdateFrame},
};

fn position(text: &str) -> Position {
    Position(text.to_owned())
}

fn update(since: Option<&str>, to: &str) -> ServerFrame {
    ServerFrame::Update(UpdateFrame {
        position: position(to),
        since: since.map(position),
        body: crate::wire::empty_body(),
    })
}

fn error(errcode: &str) -> ErrorFrame {
    ErrorFrame { errcode: errcode.to_owned(), ..ErrorFrame::default() }
}

const fn secs(seconds: u64) -> Timestamp {
    Timestamp(1_000_000 + seconds * 1000)
}

/// A link that is up since `secs(0)`.
fn up(since: Option<&str>) -> Link {
    let mut link = Link::new(since.map(position));
    assert!(link.tick(secs(0)));
    link.on_up(secs(0));
    link
}

/// Lets time pass in steps of a second until the link dials; gives when that was.
fn dials_at(link: &mut Link, from: u64) -> u64 {
    (from..from + 100).find(|at| link.tick(secs(*at))).expect("it dials")
}

#[test]
fn the_first_dial_comes_at_once_and_only_once() {
    let mut link = Link::new(None);
    assert!(link.deadline().unwrap() <= secs(0));
    assert!(link.tick(secs(0)));
    assert!(!link.tick(secs(1)));
    assert_eq!(*link.state(), LinkState::Connecting);
}

#[test]
fn a_homeserver_that_is_gone_is_said_although_the_stream_is_up() {
    let mut link = up(Some("s1"));
    let mut gone = error("GROTTO_UNREACHABLE");
    gone.error = "the homeserver cannot be reached".to_owned();
    link.on_frame(ServerFrame::Error(gone), secs(5));
    let LinkState::Offline { reason, .. } = link.state() else { panic!("{:?}", link.state()) };
    assert_eq!(reason, "the homeserver cannot be reached");
    link.on_frame(update(Some("s1"), "s2"), secs(9));
    assert_eq!(*link.state(), LinkState::Online);
}

#[test]
fn the_first_frame_names_the_last_committed_position() {
    let mut link = Link::new(Some(position("s1")));
    link.acknowledge(position("s2"));
    let frames = link.on_up(secs(0));
    let [ClientFrame::Sync(sync)] = frames.as_slice() else { panic!("{frames:?}") };
    assert_eq!(sync.since, Some(position("s2")));
    let filter: serde_json::Value =
        serde_json::from_str(sync.filter.as_ref().unwrap().get()).unwrap();
    assert_eq!(filter["room"]["state"]["lazy_load_members"], true);
}

/// How many messages of a room a frame asks for.
fn page(frame: &ClientFrame) -> u64 {
    let ClientFrame::Sync(sync) = frame else { panic!("{frame:?}") };
    let filter: serde_json::Value =
        serde_json::from_str(sync.filter.as_ref().unwrap().get()).unwrap();
    filter["room"]["timeline"]["limit"].as_u64().unwrap()
}

#[test]
fn an_answer_that_is_too_large_is_asked_for_with_fewer_messages() {
    let mut link = Link::new(None);
    assert!(link.tick(secs(0)));
    assert_eq!(page(&link.on_up(secs(0))[0]), 50);
    let mut pages = Vec::new();
    while let LinkEvent::Resume(frame) =
        link.on_frame(ServerFrame::Error(error("M_TOO_LARGE")), secs(1))
    {
        pages.push(page(&frame));
    }
    assert_eq!(pages, [10, 1]);
    assert!(matches!(link.state(), LinkState::Offline { .. }), "it is said");
    link.on_lost("cut", secs(9), 0.0);
    assert_eq!(page(&link.on_up(secs(9))[0]), 1, "the first sync is as large as before");
    link.acknowledge(position("s1"));
    link.on_lost("cut", secs(20), 0.0);
    assert_eq!(page(&link.on_up(secs(20))[0]), 50, "what comes after it is not");
}

#[test]
fn an_update_that_this_end_cannot_take_is_asked_for_with_fewer_messages_over_new_connections() {
    let mut link = up(Some("s1"));
    let mut pages = Vec::new();
    let mut pauses = Vec::new();
    let mut now = 0;
    for _ in 0..4 {
        // Each took long enough to count as a success otherwise: it is not dialed at once again.
        now += 60;
        link.on_too_large();
        link.on_lost("more than 1 MiB at once: raise sync_mib", secs(now), 1.0);
        let LinkState::Offline { retry_at, reason } = link.state() else { panic!("it is said") };
        assert!(reason.contains("sync_mib"));
        pauses.push(retry_at.since(secs(now)));
        now = retry_at.0 / 1000;
        assert!(link.tick(secs(now)));
        pages.push(page(&link.on_up(secs(now))[0]));
    }
    assert_eq!(pages, [10, 1, 1, 1]);
    assert!(pauses.windows(2).all(|two| two[0] < two[1]), "{pauses:?}");
    assert!(matches!(link.on_frame(update(Some("s1"), "s2"), secs(now)), LinkEvent::Update(_)));
    link.acknowledge(position("s2"));
    link.on_lost("cut", secs(now + 60), 0.0);
    assert_eq!(page(&link.on_up(secs(now + 60))[0]), 50, "what comes after it is smaller");
}

#[test]
fn updates_are_taken_in_order_and_duplicates_dropped() {
    let mut link = up(None);
    assert!(matches!(link.on_frame(update(None, "s1"), secs(1)), LinkEvent::Update(_)));
    link.acknowledge(position("s1"));
    assert!(matches!(link.on_frame(update(None, "s1"), secs(1)), LinkEvent::Nothing));
    assert!(matches!(link.on_frame(update(Some("s1"), "s2"), secs(1)), LinkEvent::Update(_)));
}

#[test]
fn a_gap_is_answered_by_asking_from_the_committed_position() {
    let mut link = up(Some("s1"));
    let event = link.on_frame(update(Some("s2"), "s3"), secs(1));
    let LinkEvent::Resume(ClientFrame::Sync(sync)) = event else { panic!("{event:?}") };
    assert_eq!(sync.since, Some(position("s1")));
}

#[test]
fn a_connection_that_held_is_dialed_again_at_once() {
    let mut link = up(None);
    link.on_lost("cut", secs(8), 1.0);
    assert!(link.tick(secs(8)));
}

#[test]
fn failures_are_spaced_by_a_growing_pause_with_full_jitter() {
    let mut link = Link::new(None);
    assert!(link.tick(secs(0)));
    let mut at = 0;
    let mut pauses = Vec::new();
    for _ in 0..7 {
        link.on_lost("refused", secs(at), 1.0);
        let next = dials_at(&mut link, at);
        pauses.push(next - at);
        at = next;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    link.on_lost("refused", secs(at), 0.5);
    assert_eq!(dials_at(&mut link, at) - at, 15);
}

#[test]
fn a_server_that_takes_us_and_drops_us_is_not_dialed_in_a_tight_loop() {
    let mut link = up(None);
    for expected in [1, 2, 4] {
        link.on_up(secs(0));
        link.on_lost("closed", secs(0), 1.0);
        assert_eq!(*link.state(), offline(secs(expected), "closed"));
    }
}

fn offline(retry_at: Timestamp, reason: &str) -> LinkState {
    LinkState::Offline { retry_at, reason: reason.to_owned() }
}

#[test]
fn a_server_that_says_when_to_come_back_is_obeyed_within_reason() {
    for (asked, waits) in [(3, 3), (3_000_000, 60)] {
        let mut link = up(None);
        let retry_after = Some(Duration::from_secs(asked));
        let frame = ErrorFrame { fatal: true, retry_after, ..error("GROTTO_GOING_AWAY") };
        assert!(matches!(link.on_frame(ServerFrame::Error(frame), secs(9)), LinkEvent::Nothing));
        link.on_lost("going away", secs(9), 0.0);
        assert_eq!(*link.state(), offline(secs(9 + waits), "going away"));
    }
}

#[test]
fn a_resume_from_suspend_dials_within_five_seconds() {
    let mut link = up(None);
    assert!(!link.tick(secs(4)));
    assert!(link.deadline().unwrap() <= secs(4 + 5));
    assert!(link.tick(secs(3600)), "the old connection is dead");
    link.on_lost("no route", secs(3600), 1.0);
    assert!(link.tick(secs(9000)), "and a pause is over");
}

#[test]
fn a_clock_that_is_set_back_does_not_put_the_next_dial_off() {
    let mut link = Link::new(None);
    assert!(link.tick(secs(1000)));
    for _ in 0..3 {
        link.on_lost("refused", secs(1000), 1.0);
    }
    assert_eq!(*link.state(), offline(secs(1004), "refused"));
    assert!(link.deadline().unwrap() <= secs(1004));
    assert!(!link.tick(secs(0)), "an hour back, and no dial out of order");
    assert_eq!(*link.state(), offline(secs(4), "refused"));
    assert_eq!(dials_at(&mut link, 1), 4);
}

#[test]
fn a_token_that_is_not_valid_ends_the_link() {
    for soft in [true, false] {
        let mut link = up(None);
        let frame = ErrorFrame { fatal: true, soft_logout: soft, ..error("M_UNKNOWN_TOKEN") };
        let event = link.on_frame(ServerFrame::Error(frame), secs(1));
        assert!(matches!(event, LinkEvent::LoggedOut { soft: told } if told == soft));
        link.on_lost("closed", secs(2), 1.0);
        assert!(matches!(link.state(), LinkState::Ended { .. }));
        assert_eq!(link.deadline(), None);
        assert!(!link.tick(secs(9999)));
    }
}

#[test]
fn a_link_that_waits_for_a_token_dials_when_it_is_there_and_not_before() {
    let mut link = up(None);
    let frame = ErrorFrame { fatal: true, ..error("M_UNKNOWN_TOKEN") };
    link.on_frame(ServerFrame::Error(frame), secs(1));
    link.hold();
    assert_eq!(*link.state(), LinkState::Connecting);
    link.on_lost("closed", secs(2), 1.0);
    assert_eq!(link.deadline(), None);
    assert!(!link.tick(secs(9999)));
    link.wait(secs(10_010), "unreachable");
    assert_eq!(*link.state(), offline(secs(10_010), "unreachable"));
    link.release();
    assert!(link.tick(secs(10_000)));
}

#[test]
fn a_request_that_the_stream_refuses_is_answered() {
    let mut link = up(None);
    let frame = ErrorFrame { id: Some(7), ..error("M_BAD_JSON") };
    let event = link.on_frame(ServerFrame::Error(frame), secs(1));
    let LinkEvent::Response(response) = event else { panic!("{event:?}") };
    assert_eq!((response.id, response.status), (7, 400));
    assert!(response.body.get().contains("M_BAD_JSON"));
}

/// What can happen to a link.
#[derive(Clone, Debug)]
enum Happening {
    Pass(u64),
    Back(u64),
    Up,
    Lost(f64),
    Update(u8, u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0_u64..40_000).prop_map(Happening::Pass),
        (0_u64..4_000_000).prop_map(Happening::Back),
        Just(Happening::Up),
        (0.0..1.0).prop_map(Happening::Lost),
        (0_u8..4, 0_u8..4).prop_map(|(since, to)| Happening::Update(since, to)),
    ]
}

proptest! {
    /// Whatever happens: updates are taken in a chain, and the link is never stuck: within the
    /// longest pause, counted in time that passes, it dials.
    #[test]
    fn a_link_takes_a_chain_of_updates_and_never_gets_stuck(
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let mut link = Link::new(None);
        let mut now = Timestamp(1_000_000_000);
        let mut committed: Option<Position> = None;
        for happening in happenings {
            match happening {
                Happening::Pass(ms) => now = now.plus(Duration::from_millis(ms)),
                Happening::Back(ms) => now = Timestamp(now.0 - ms),
                Happening::Up => {
                    let frames = link.on_up(now);
                    let [ClientFrame::Sync(sync)] = frames.as_slice() else { panic!() };
                    prop_assert_eq!(&sync.since, &committed);
                }
                Happening::Lost(draw) => link.on_lost("lost", now, draw),
                Happening::Update(since, to) => {
                    let frame = update((since > 0).then(|| since.to_string()).as_deref(), &to.to_string());
                    if let LinkEvent::Update(update) = link.on_frame(frame, now) {
                        prop_assert_eq!(&update.since, &committed);
                        committed = Some(update.position.clone());
                        link.acknowledge(update.position);
                    }
                }
            }
            link.tick(now);
        }
        link.on_lost("the end", now, 1.0);
        let dialed = (0..=60).any(|second| link.tick(now.plus(Duration::from_secs(second))));
        prop_assert!(dialed);
    }
}
