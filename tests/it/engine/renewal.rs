//! The access token over time: renewed before it ends, on disk before it is used, and what becomes
//! of the login when it is refused.

use std::time::Duration;

use grotto::{
    engine::{RenewError, Tokens, renew_at},
    link::LinkState,
    store::{Lease, Standing},
    wire::ErrorFrame,
};

use super::*;

fn lease(bench: &Bench) -> Lease {
    Lease {
        refresh_token: Some(Secret::new("refresh-1".to_owned())),
        renew_at: renew_at(bench.now, Some(Duration::from_secs(300))),
        ..Lease::default()
    }
}

/// Online, with a token that lives for five minutes.
fn leased() -> (Bench, OwnedRoomId) {
    let (bench, room) = Bench::in_clear_room();
    let writes = Writes { lease: Some(lease(&bench)), ..Writes::default() };
    let Bench { mut store, position, .. } = bench;
    store.commit(Pending::new(writes, ())).unwrap();
    let mut bench = Bench::on(store);
    bench.position = position;
    bench.connect();
    bench.frames.clear();
    bench.input(Input::Command { face: FACE, command: Command::Open(room.clone()) });
    (bench, room)
}

fn fresh(number: u32) -> Tokens {
    Tokens {
        access_token: Secret::new(format!("access-{number}")),
        refresh_token: Some(Secret::new(format!("refresh-{number}"))),
        expires_in: Some(Duration::from_secs(300)),
    }
}

fn refused(soft: bool) -> Value {
    json!({"errcode": "M_UNKNOWN_TOKEN", "error": "expired", "soft_logout": soft})
}

fn stream_ends(soft_logout: bool) -> Input {
    let errcode = "M_UNKNOWN_TOKEN".to_owned();
    Input::Frame(ServerFrame::Error(ErrorFrame {
        errcode,
        fatal: true,
        soft_logout,
        ..ErrorFrame::default()
    }))
}

/// The refresh token that is asked with.
fn asked(out: &Outgoing) -> Option<String> {
    out.renew.as_ref().map(|renewal| renewal.refresh_token.expose().clone())
}

/// Lets time go by as it does, not as after a sleep of the machine; what is asked with meanwhile.
fn pass(bench: &mut Bench, seconds: u64) -> Vec<String> {
    let ticks = (0..seconds).filter_map(|_| {
        bench.now = bench.now.plus(Duration::from_secs(1));
        asked(&bench.input(Input::Tick))
    });
    ticks.collect()
}

fn presented(out: &[ClientFrame]) -> Vec<String> {
    let tokens = out.iter().filter_map(|frame| match frame {
        ClientFrame::Token(frame) => Some(frame.token.to_string()),
        _ => None,
    });
    tokens.collect()
}

fn ended(bench: &Bench) -> Option<String> {
    bench.updates.iter().find_map(|update| match update {
        Update::Ended { reason } => Some(reason.clone()),
        _ => None,
    })
}

#[test]
fn a_token_is_renewed_a_minute_before_its_end_and_a_short_one_after_two_thirds_of_its_life() {
    let at = |seconds: u64| {
        let due = renew_at(Timestamp(0), Some(Duration::from_secs(seconds))).unwrap();
        due.0 / 1000
    };
    assert_eq!((at(300), at(3600), at(60), at(3)), (240, 3540, 40, 2));
    // However short a life the server names, it is not asked without pause.
    assert_eq!((at(0), at(1)), (1, 1));
    assert_eq!(renew_at(Timestamp(0), None), None);
}

#[test]
fn a_new_token_is_on_disk_in_the_step_that_presents_it_and_the_link_stays() {
    let (mut bench, _) = leased();
    assert!(pass(&mut bench, 239).is_empty());
    assert_eq!(pass(&mut bench, 5), ["refresh-1"], "once");

    // Sealed with the write, until the commit.
    let renewed = Input::Renewed(Ok(fresh(2)));
    let step = bench.engine.handle(renewed, bench.now, &bench.store).unwrap();
    let writes = step.writes();
    assert_eq!(writes.access_token.as_ref().unwrap().expose(), "access-2");
    let written = writes.lease.as_ref().unwrap();
    assert_eq!(written.refresh_token.as_ref().unwrap().expose(), "refresh-2");
    let out = bench.store.commit(step).unwrap();
    assert_eq!(presented(&out.frames), ["access-2"]);
    assert!(out.dial.is_none() && out.hang_up.is_none());
    assert_eq!(bench.store.account().access_token.expose(), "access-2");
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again_with_the_same_token_also_after_a_crash() {
    let (mut bench, _) = leased();
    assert_eq!(pass(&mut bench, 241), ["refresh-1"]);
    bench.input(Input::Renewed(Err(RenewError::Later("the answer was lost".to_owned()))));
    assert_eq!(pass(&mut bench, 2), ["refresh-1"]);

    // The answer came, and the process died before it was on disk.
    let renewed = Input::Renewed(Ok(fresh(2)));
    drop(bench.engine.handle(renewed, bench.now, &bench.store).unwrap());
    let later = bench.now;
    let mut bench = bench.restart();
    bench.now = later;
    let out = bench.input(Input::Tick);
    assert_eq!(asked(&out).as_deref(), Some("refresh-1"));
    assert_eq!(out.dial.unwrap().token.expose(), "token");
}

#[test]
fn a_refused_token_is_renewed_before_anybody_hears_of_it_and_the_call_is_made_again() {
    let (mut bench, room) = leased();
    bench.send(&room, "one");
    let send = bench.sends().remove(0);
    bench.now = bench.now.plus(Duration::from_secs(1));
    bench.updates.clear();
    let body = to_raw_value(&refused(true)).unwrap();
    let response =
        ResponseFrame { id: send.id, status: 401, body, retry_after: None, download: None };
    let out = bench.input(Input::Frame(ServerFrame::Response(response)));
    assert!(asked(&out).is_some() && out.hang_up.is_some() && !out.ended);
    bench.input(Input::LinkLost { reason: "hung up".to_owned(), draw: 0.0 });
    bench.now = bench.now.plus(Duration::from_secs(60));
    assert!(bench.input(Input::Tick).dial.is_none(), "no dial with the old token");

    bench.input(Input::Renewed(Ok(fresh(2))));
    let out = bench.input(Input::Tick);
    assert_eq!(out.dial.unwrap().token.expose(), "access-2");
    bench.input(Input::LinkUp);
    bench.update(&json!({}));
    let again = bench.sends();
    assert_eq!((names(&again), &again[0].path), (vec!["one"], &send.path));
    assert_eq!(ended(&bench), None);
    let ends = |update: &Update| matches!(update, Update::Link(LinkState::Ended { .. }));
    assert!(!bench.updates.iter().any(ends), "{:?}", bench.updates);
}

#[test]
fn a_call_that_left_with_the_token_before_is_made_again_without_a_word() {
    let (mut bench, room) = leased();
    bench.send(&room, "one");
    let send = bench.sends().remove(0);
    assert_eq!(pass(&mut bench, 250), ["refresh-1"]);
    bench.input(Input::Renewed(Ok(fresh(2))));
    // The homeserver does not know the old token any more: it does not say soft.
    bench.answer(send.id, 401, &refused(false));
    assert_eq!(names(&bench.sends()), ["one"]);
    assert_eq!(ended(&bench), None);
}

#[test]
fn a_login_that_expired_and_one_that_was_ended_are_told_apart_and_noted() {
    for (soft, standing, words) in [
        (true, Standing::Expired, "your keys and messages are kept"),
        (false, Standing::Ended, "kept until you say otherwise"),
    ] {
        // Without anything to renew it with the word counts at once.
        let (mut bench, _) = Bench::in_clear_room();
        let out = bench.input(stream_ends(soft));
        assert!(out.ended && out.renew.is_none());
        assert_eq!(bench.store.lease().standing, standing);
        assert!(ended(&bench).unwrap().contains(words));

        // With it, the word of who renews counts too.
        let (mut bench, _) = leased();
        bench.input(stream_ends(false));
        let no = RenewError::Refused(standing, "no".to_owned());
        assert!(bench.input(Input::Renewed(Err(no))).ended);
        assert_eq!(bench.store.lease().standing, standing);
    }
}

#[test]
fn a_refresh_token_that_is_refused_early_costs_nothing_before_the_access_token_ends() {
    let (mut bench, _) = leased();
    assert_eq!(pass(&mut bench, 241), ["refresh-1"]);
    let no = RenewError::Refused(Standing::Ended, "too old".to_owned());
    let out = bench.input(Input::Renewed(Err(no)));
    assert!(!out.ended && out.hang_up.is_none());
    assert!(pass(&mut bench, 50).is_empty(), "it is not asked again");
    assert_eq!(ended(&bench), None);
    // And then the homeserver says that the device is kept.
    assert!(bench.input(stream_ends(true)).ended);
    assert_eq!(bench.store.lease().standing, Standing::Expired);
}

#[test]
fn a_server_that_refuses_every_new_token_is_not_asked_forever() {
    let (mut bench, _) = leased();
    let mut renewals = 0;
    for number in 2..20 {
        let out = bench.input(stream_ends(true));
        if out.ended {
            break;
        }
        renewals += 1;
        bench.input(Input::Renewed(Ok(fresh(number))));
        bench.input(Input::Tick);
        bench.input(Input::LinkUp);
    }
    assert_eq!(renewals, 3);
    assert_eq!(bench.store.lease().standing, Standing::Expired);
}
