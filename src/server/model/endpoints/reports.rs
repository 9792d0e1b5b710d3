//! Reports to those who run the server: of events, rooms and people.

use ruma::api::client::{
    reporting::report_user,
    room::{report_content, report_room},
};
use serde::Deserialize;

use crate::{
    matrix::{OwnedEventId, OwnedRoomId, OwnedUserId},
    server::model::{
        body::{Given, Loose},
        rate::Limited,
        records::{REPORTS, ROOMS, ReportRecord, ReportSubject, USERS},
        refusal::{Refusal, Stop},
        rooms::Visit,
        route::{Context, Routes},
        step::{Span, Step},
        table::{Broken, Order},
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(report_event);
    routes.add(report_room);
    routes.add(report_user);
}

/// Longest reason, in bytes.
const MAX_REASON: usize = 1000;
/// Reports that are kept.
const MAX_REPORTS: u64 = 10_000;

#[derive(Deserialize)]
struct WithReason {
    reason: Option<String>,
}

/// By hand, as reports once had more fields, of which clients may send any.
fn report_event(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<report_content::v3::Request>,
) -> Result<report_content::v3::Response, Stop> {
    let reason = reason(&request)?;
    let nothing = |_| Refusal::not_found("there is no such event");
    let room = OwnedRoomId::try_from(request.argument(0)).map_err(nothing)?;
    let id = OwnedEventId::try_from(request.argument(1)).map_err(nothing)?;
    let visit = Visit::of_anybody(step, context.caller()?, room)?;
    let event = visit.event(step, &id)?;
    let subject = ReportSubject::Event { room: visit.room, event: id, evidence: event.record.pdu };
    file(step, context, subject, reason)?;
    Ok(report_content::v3::Response::new())
}

fn report_room(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<report_room::v3::Request>,
) -> Result<report_room::v3::Response, Stop> {
    let reason = reason(&request)?;
    let unknown = || Refusal::not_found("there is no such room");
    let room = OwnedRoomId::try_from(request.argument(0)).map_err(|_none| unknown())?;
    if step.get(ROOMS, (&room,))?.is_none() {
        return Err(unknown().into());
    }
    file(step, context, ReportSubject::Room { room }, reason)?;
    Ok(report_room::v3::Response::new())
}

/// Whether there is such a user is not said: nobody may find out who has an account.
fn report_user(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<report_user::v3::Request>,
) -> Result<report_user::v3::Response, Stop> {
    let reason = reason(&request)?;
    let user = OwnedUserId::try_from(request.argument(0))
        .map_err(|error| Refusal::invalid(error.to_string()))?;
    if step.get(USERS, (&user,))?.is_some() {
        file(step, context, ReportSubject::User { user }, reason)?;
    }
    Ok(report_user::v3::Response::new())
}

fn reason(request: &Given) -> Result<Option<String>, Refusal> {
    let WithReason { reason } = request.read()?;
    match reason {
        Some(reason) if MAX_REASON < reason.len() => {
            Err(Refusal::bad_json("the reason is too long"))
        }
        reason => Ok(reason),
    }
}

fn file(
    step: &mut Step<'_>,
    context: &Context<'_>,
    subject: ReportSubject,
    reason: Option<String>,
) -> Result<(), Refusal> {
    let reporter = context.caller()?.user.clone();
    step.limit(Limited::Report, reporter.as_str())?;
    let number = last(step)? + 1;
    if MAX_REPORTS < number {
        step.delete(REPORTS, (number - MAX_REPORTS,));
    }
    let report = ReportRecord { reporter, subject, reason, time: step.now };
    Ok(step.put(REPORTS, (number,), &report)?)
}

/// The number of the newest report.
fn last(step: &Step<'_>) -> Result<u64, Broken> {
    let span = Span { after: 0, up_to: u64::MAX, order: Order::Descending, limit: 1 };
    match step.scan_numbers(REPORTS, (), &span)?.into_iter().next() {
        Some((mut key, _)) => key.number(),
        None => Ok(0),
    }
}
