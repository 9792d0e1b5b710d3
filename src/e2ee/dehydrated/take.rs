//! Taking over what waits at the server: what it is, whether it is ours, and its messages.

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    record::{DehydratedPurpose, Phase, Wish},
    rehydrated::{Rehydrated, Sealed},
};
use crate::{
    e2ee::{
        Machine, MachineError, Notice,
        core::Freshness,
        cross_signing::is_verified_master,
        device::DeviceSort,
        devices::find_device,
        identity::Identity,
        lookup::Table,
        megolm::inbound,
        request::{Call, Purpose, RequestId, RequestKind},
        step::Step,
    },
    matrix::{MatrixError, OwnedUserId, ToDeviceEvent},
};

/// Where the calls are.
pub(super) const ROOT: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1";
pub(super) const DEVICE: &str = "dehydrated_device";
/// Most pages that are read: a hundred events each, as servers have them. The rest is given up.
const MAX_PAGES: u32 = 1_000;
/// Longest token of a page, in bytes.
const MAX_TOKEN: usize = 1 << 10;
/// Largest sealed device that is read, in bytes.
const MAX_SEALED: usize = 256 << 10;

/// A device that our key opens; whether it is ours is not known yet.
#[derive(Debug)]
pub(super) struct Candidate {
    device: Rehydrated,
}

/// The reading of its messages.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) request: RequestId,
    device: Rehydrated,
    /// Where the page began that was asked for.
    from: Option<String>,
    pages: u32,
    method: Method,
}

/// How pages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    /// As the proposal had it before: the end is an empty page.
    Post,
}

/// A page of messages.
#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    #[serde(default)]
    next_batch: Option<String>,
}

#[derive(Deserialize)]
struct PageEvent {
    #[serde(rename = "type")]
    kind: String,
    sender: OwnedUserId,
    content: Box<RawValue>,
}

impl Machine {
    /// Asks what waits there; that the server does not know the question is an answer too.
    pub(super) fn look(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let call = Call {
            kind: RequestKind::DehydratedDevice,
            method: "GET",
            path: &[DEVICE],
            query: Vec::new(),
            body: String::new(),
        };
        let purpose = Purpose::Dehydrated(DehydratedPurpose::Look);
        let id = self.core.requests.call_below(ROOT, call, purpose, step)?;
        self.dehydration.phase = Phase::Looking(id);
        Ok(())
    }

    pub(super) fn receive_look(
        &mut self,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match answer {
            Ok(body) => self.found(body, step),
            Err(error) if error.status == 404 && error.errcode == "M_NOT_FOUND" => self.make(step),
            Err(_) => self.dehydration_ends(step),
        }
    }

    /// One waits. What our key does not open is worth nothing to whoever logs in with secret
    /// storage, so another takes its place; but not when the key is from before: then another
    /// client of ours has a newer one, and the device is its business.
    fn found(&mut self, body: &str, step: &mut Step<'_>) -> Result<(), MachineError> {
        let sealed = Some(body).filter(|body| body.len() <= MAX_SEALED);
        let sealed = sealed.and_then(|body| serde_json::from_str::<Sealed>(body).ok());
        let record = &self.dehydration.record;
        let is_ours = sealed.as_ref().is_some_and(|it| record.made.as_ref() == Some(&it.device_id));
        let opened = sealed.zip(record.key.as_ref()).and_then(|(sealed, key)| sealed.open(&key.0));
        match (record.wish, opened) {
            (Some(Wish::Rehydrate), Some(device)) if !is_ours => {
                let user = self.core.user.clone();
                self.core.call_into_question(&user, step)?;
                let candidate = Box::new(Candidate { device });
                self.dehydration.phase = Phase::Checking(candidate, step.now());
                self.check_candidate(step)
            }
            // Whatever is sent to it is sent to this device as well.
            (Some(Wish::Rehydrate), Some(_)) | (None, _) => self.dehydration_ends(step),
            (Some(Wish::Renew), None) => {
                self.dehydration.record.key = None;
                self.dehydration_ends(step)
            }
            (Some(Wish::Rehydrate), None) | (Some(Wish::Make | Wish::Renew), _) => self.make(step),
        }
    }

    /// Compares the device with our own device list, once that is fresh: messages of a device that
    /// our identity did not sign were written by who does not look.
    pub(super) fn check_candidate(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let fresh = self.core.refresh([&self.core.user.clone()], step)?;
        let Phase::Checking(_, until) = &mut self.dehydration.phase else { return Ok(()) };
        if let Freshness::Waiting(moment) = fresh {
            *until = moment;
            return Ok(());
        }
        let Phase::Checking(candidate, _) = std::mem::take(&mut self.dehydration.phase) else {
            return Ok(());
        };
        let Candidate { device } = *candidate;
        if !self.is_ours(&device, step)? {
            tracing::warn!("the dehydrated device is not one that our identity signed");
            return self.make(step);
        }
        self.read_page(Next { device, from: None, pages: 0, method: Method::Get }, step)
    }

    fn is_ours(&self, device: &Rehydrated, step: &Step<'_>) -> Result<bool, MachineError> {
        let user = &self.core.user;
        let own = step.get::<Identity>(Table::Identity, user.as_str(), "")?;
        let listed = find_device(user, &device.device_id, step)?;
        let Some((own, listed)) = own.zip(listed) else { return Ok(false) };
        Ok((listed.curve25519, listed.ed25519) == device.keys()
            && listed.sort == DeviceSort::Dehydrated
            && !listed.is_deleted()
            && !listed.is_blocked()
            && own.signs(&listed)
            && is_verified_master(&own, step)?)
    }

    fn read_page(&mut self, next: Next, step: &mut Step<'_>) -> Result<(), MachineError> {
        let Next { device, from, pages, method } = next;
        let (query, body) = match (method, &from) {
            (Method::Get, from) => {
                let from = from.iter().map(|from| ("from".to_owned(), from.clone()));
                (from.collect(), String::new())
            }
            (Method::Post, Some(from)) => (Vec::new(), json!({ "next_batch": from }).to_string()),
            (Method::Post, None) => (Vec::new(), "{}".to_owned()),
        };
        let call = Call {
            kind: RequestKind::DehydratedDevice,
            method: if method == Method::Get { "GET" } else { "POST" },
            path: &[DEVICE, device.device_id.as_str(), "events"],
            query,
            body,
        };
        let purpose = Purpose::Dehydrated(DehydratedPurpose::Events);
        let request = self.core.requests.call_below(ROOT, call, purpose, step)?;
        let reading = Box::new(Reading { request, device, from, pages, method });
        self.dehydration.phase = Phase::Reading(reading);
        Ok(())
    }

    /// Takes a page. What is refused or garbled ends the reading, and nothing takes the place of
    /// the device: the next start tries again.
    pub(super) fn receive_events(
        &mut self,
        reading: Reading,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Reading { mut device, from, pages, method, .. } = reading;
        let page = match answer {
            Ok(body) => serde_json::from_str::<Page>(body).ok(),
            Err(error)
                if method == Method::Get && pages == 0 && error.errcode == "M_UNRECOGNIZED" =>
            {
                return self.read_page(Next { device, from, pages, method: Method::Post }, step);
            }
            Err(_) => None,
        };
        let Some(Page { events, next_batch }) = page else {
            tracing::warn!("the messages of the dehydrated device cannot be read");
            self.dehydration.phase = Phase::Off;
            step.tell(Notice::StorageChanged);
            return Ok(());
        };
        for event in &events {
            self.receive_for(&mut device, event, step)?;
        }
        let is_end = method == Method::Post && events.is_empty();
        let goes_on = |next: &String| !is_end && Some(next) != from.as_ref();
        let pages = pages + 1;
        match next_batch.filter(goes_on).filter(|next| next.len() <= MAX_TOKEN) {
            Some(next) if pages < MAX_PAGES => {
                self.read_page(Next { device, from: Some(next), pages, method }, step)
            }
            Some(_) | None => self.make(step),
        }
    }

    /// Takes a room key out of an event for the device.
    fn receive_for(
        &mut self,
        device: &mut Rehydrated,
        event: &RawValue,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Ok(PageEvent { kind, sender, content }) = serde_json::from_str(event.get()) else {
            return Ok(());
        };
        let event = ToDeviceEvent { kind, sender, content };
        let Some(event) = device.read(&event, &self.core.user, step)? else { return Ok(()) };
        if event.kind != "m.room_key" {
            return Ok(());
        }
        inbound::receive_room_key(&mut self.megolm, &event.sender, &event.content, step)?;
        match event.sender.device {
            Some(_) => Ok(()),
            None => self.core.suspect(&event.sender.user, step),
        }
    }
}

/// The page that is asked for next.
struct Next {
    device: Rehydrated,
    from: Option<String>,
    pages: u32,
    method: Method,
}
