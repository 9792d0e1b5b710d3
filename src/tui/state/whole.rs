//! The whole: what is open, what was told, what was asked.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    areas::{Areas, Needs},
    focus::Focus,
    look::Look,
    notice::{Notice, Tone},
    overlay::Overlay,
    room_list::RoomList,
    room_pane::RoomPane,
    setup,
};
use crate::{
    engine::{
        Alarm, AuthPrompt, BackupState, Command, CommandId, LinkState, RecoveryState, RoomTrust,
        VerificationView,
    },
    matrix::{OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomId},
    rooms::{RoomKind, RoomSummary, Typed},
    time::Timestamp,
    tui::{
        input::{Attention, KeyPress, Size},
        keymap::Keymap,
        options::{Bell, Reminder, TimelineOptions, TuiOptions},
    },
};

/// Most warnings that are shown at once.
const MOST_ALARM_ROWS: usize = 2;
/// How long the bell is quiet after it rang.
const BELL_PAUSE: Duration = Duration::from_secs(3);
/// Columns before the text of the composer.
pub(in crate::tui) const PROMPT_COLUMNS: u16 = 2;

/// The screen's state.
#[derive(Debug)]
pub struct State {
    pub(in crate::tui) user_id: OwnedUserId,
    pub(in crate::tui) keymap: Keymap,
    pub(in crate::tui) options: TimelineOptions,
    pub(in crate::tui) size: Size,
    pub(in crate::tui) areas: Areas,
    pub(in crate::tui) attention: Attention,
    /// When a key was pressed last.
    pub(in crate::tui) last_key: Timestamp,
    pub(in crate::tui) focus: Focus,
    pub(in crate::tui) overlay: Option<Overlay>,
    pub(in crate::tui) rooms: RoomList,
    /// Rooms that were visited; those the engine follows are in `followed`.
    pub(in crate::tui) panes: BTreeMap<OwnedRoomId, RoomPane>,
    /// Rooms that the engine keeps us told about, the least recently used first.
    pub(in crate::tui) followed: VecDeque<OwnedRoomId>,
    pub(in crate::tui) current: Option<OwnedRoomId>,
    /// To be opened once it is known, if nothing else was opened before.
    pub(in crate::tui) first_room: Option<OwnedRoomId>,
    pub(in crate::tui) link: LinkState,
    pub(in crate::tui) synced: bool,
    pub(in crate::tui) unsent: Unsent,
    pub(in crate::tui) alarms: VecDeque<Alarm>,
    /// Whose devices get the keys of the followed rooms.
    pub(in crate::tui) trust: BTreeMap<OwnedRoomId, RoomTrust>,
    /// Where this device is on its way to the account's keys.
    pub(in crate::tui) recovery: Option<RecoveryState>,
    /// Whether it lacked keys, or the account a recovery key, when it was told of last.
    pub(in crate::tui) lacked_keys: bool,
    /// What the server wants to be told before it takes the account's keys.
    pub(in crate::tui) auth: Option<AuthPrompt>,
    /// Something was asked that opens a question of its own, and nothing was written since.
    pub(in crate::tui) awaits_question: bool,
    /// How the key backup stands.
    pub(in crate::tui) backup: BackupState,
    /// Whether an account without a recovery key is a reason to say so.
    pub(in crate::tui) recovery_key: Reminder,
    /// Verifications under way, the newest last.
    pub(in crate::tui) verifications: VecDeque<VerificationView>,
    pub(in crate::tui) notice: Option<Notice>,
    pub(in crate::tui) pending_keys: Vec<KeyPress>,
    pub(in crate::tui) asked: BTreeMap<CommandId, Asked>,
    /// Commands that the engine had no room for; sent again before others.
    pub(in crate::tui) refused: VecDeque<Command>,
    pub(in crate::tui) typing: Option<TypingNotice>,
    pub(in crate::tui) attaching: Option<Attaching>,
    /// Where files are saved.
    pub(in crate::tui) downloads: Option<String>,
    pub(in crate::tui) ended: Option<String>,
    pub(in crate::tui) now: Timestamp,
    /// When the bell rang last.
    rang: Option<Timestamp>,
    ids: Ids,
}

/// Messages that are not sent yet, in all rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) struct Unsent {
    /// On their way.
    pub waiting: usize,
    /// Given up until the user tries again.
    pub failed: usize,
    /// The rooms of those given up.
    pub failed_in: Vec<OwnedRoomId>,
}

/// What was asked of the engine, to be said when the answer comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Asked {
    /// A room that is opened when it is there.
    Enter,
    /// To leave a room or decline an invite.
    Leave(OwnedRoomId),
    /// To invite; whom, safe.
    Invite(String),
    /// How a message was encrypted.
    Story,
    /// To save a file.
    Save {
        /// Of which message.
        event: OwnedEventId,
        /// Its name, safe.
        name: String,
    },
    /// To unlock the account's keys.
    Recover,
    /// A recovery key.
    RecoveryKey,
    /// Something that is not talked about unless it fails.
    Quietly,
}

/// A file that is looked at before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) struct Attaching {
    /// To which room.
    pub room: OwnedRoomId,
    /// What is said to it.
    pub caption: Typed,
}

/// That others were told we type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) struct TypingNotice {
    /// Where.
    pub room: OwnedRoomId,
    /// When they were told last.
    pub told: Timestamp,
    /// When they are told that it stopped.
    pub stops: Timestamp,
}

#[derive(Debug)]
struct Ids {
    seed: u64,
    next: u64,
}

impl State {
    /// The state before anything was told; `seed` must differ from run to run: it makes
    /// transaction ids unique.
    pub fn new(options: TuiOptions, size: Size, seed: u64) -> Self {
        let mut state = Self {
            user_id: options.user_id,
            keymap: options.keymap,
            options: options.timeline,
            size,
            areas: Areas::default(),
            attention: Attention::Here,
            last_key: Timestamp::default(),
            focus: Focus::Rooms,
            overlay: None,
            rooms: RoomList::default(),
            panes: BTreeMap::new(),
            followed: VecDeque::new(),
            current: None,
            first_room: options.first_room,
            link: LinkState::Connecting,
            synced: false,
            unsent: Unsent::default(),
            alarms: VecDeque::new(),
            trust: BTreeMap::new(),
            recovery: None,
            lacked_keys: false,
            auth: None,
            awaits_question: false,
            backup: BackupState::default(),
            verifications: VecDeque::new(),
            notice: None,
            pending_keys: Vec::new(),
            asked: BTreeMap::new(),
            refused: VecDeque::new(),
            typing: None,
            attaching: None,
            downloads: options.downloads,
            recovery_key: options.recovery_key,
            ended: None,
            now: Timestamp::default(),
            rang: None,
            ids: Ids { seed, next: 0 },
        };
        state.divide();
        state
    }

    /// The size of the screen.
    pub fn size(&self) -> Size {
        self.size
    }

    /// When [`crate::tui::Input::Tick`] is wanted: something shown, or told to others, ends then.
    pub fn deadline(&self) -> Option<Timestamp> {
        let notice = self.notice.as_ref().map(|notice| notice.until);
        let typing = self.typing.as_ref().map(|typing| typing.stops);
        let countdown = match &self.link {
            LinkState::Offline { retry_at, .. } if self.now < *retry_at => {
                Some(self.now.plus(Duration::from_secs(1)))
            }
            LinkState::Offline { .. }
            | LinkState::Connecting
            | LinkState::Online
            | LinkState::Ended { .. } => None,
        };
        let again = (!self.refused.is_empty()).then(|| self.now.plus(Duration::from_millis(50)));
        let loading = self.pane().and_then(RoomPane::loading_until);
        notice.into_iter().chain(typing).chain(countdown).chain(again).chain(loading).min()
    }

    /// Why the engine ended, if it did so by itself.
    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// The open room.
    pub(in crate::tui) fn pane(&self) -> Option<&RoomPane> {
        self.panes.get(self.current.as_ref()?)
    }

    /// The open room, to be changed.
    pub(in crate::tui) fn pane_mut(&mut self) -> Option<&mut RoomPane> {
        self.panes.get_mut(self.current.as_ref()?)
    }

    /// How messages are laid out now.
    pub(in crate::tui) fn look(&self) -> Look {
        Look {
            user_id: self.user_id.to_string(),
            time_zone: self.options.time_zone.clone(),
            columns: self.areas.messages.columns(),
            state_lines: self.options.state_lines,
        }
    }

    /// Whose devices get the keys of the open room.
    pub(in crate::tui) fn trust_here(&self) -> Option<&RoomTrust> {
        self.trust.get(self.current.as_ref()?)
    }

    /// How many came into the open room since we last wrote there, in words; `None` for nobody.
    pub(in crate::tui) fn newcomers_here(&self) -> Option<String> {
        match self.trust_here()?.newcomers.len() {
            0 => None,
            1 => Some("1 new member".to_owned()),
            many => Some(format!("{many} new members")),
        }
    }

    /// Whether this room is open.
    pub(in crate::tui) fn is_current(&self, room: &RoomId) -> bool {
        self.current.as_deref() == Some(room)
    }

    /// Says something in the status line for a few seconds.
    pub(in crate::tui) fn say(&mut self, tone: Tone, text: &str) {
        self.notice = Some(Notice::new(text, tone, self.now));
    }

    /// A transaction id never used before.
    pub(in crate::tui) fn new_txn(&mut self) -> OwnedTransactionId {
        self.ids.next += 1;
        format!("grotto-{:016x}-{}", self.ids.seed, self.ids.next).into()
    }

    /// Names a request.
    pub(in crate::tui) fn new_request(&mut self, asked: Asked) -> CommandId {
        self.ids.next += 1;
        let id = CommandId(self.ids.next);
        self.asked.insert(id, asked);
        id
    }

    /// Whether the bell is to ring for what these lines say newly: more unread than before, as far
    /// as the user wants to hear of it, once the list is not merely being filled. Not again at
    /// once: whoever writes without end is no alarm clock.
    pub(in crate::tui) fn rings_for(&mut self, summaries: &[RoomSummary]) -> bool {
        let rang = self.rang.filter(|rang| *rang <= self.now);
        let may_ring = rang.is_none_or(|rang| BELL_PAUSE <= self.now.since(rang));
        let rings = may_ring && self.is_worth_a_ring(summaries);
        if rings {
            self.rang = Some(self.now);
        }
        rings
    }

    fn is_worth_a_ring(&self, summaries: &[RoomSummary]) -> bool {
        let is_new = |room: &RoomSummary| {
            let before = self.rooms.get(&room.room_id).map(|known| &known.summary);
            let unread = before.map_or(0, |before| before.unread);
            let highlights = before.map_or(0, |before| before.highlights);
            match self.options.bell {
                Bell::Never => false,
                Bell::Mentions if room.kind != RoomKind::Dm => highlights < room.highlights,
                Bell::Mentions | Bell::Messages => {
                    unread < room.unread || highlights < room.highlights
                }
            }
        };
        self.synced && summaries.iter().any(is_new)
    }

    /// What stands above the screen of the way to the account's keys, or of keys that are being
    /// saved once that is done.
    pub(in crate::tui) fn setup_bar(&self) -> Option<String> {
        if let Some(prompt) = &self.auth {
            return Some(setup::auth_bar(prompt));
        }
        let is_told = |state: &&RecoveryState| match self.recovery_key {
            Reminder::Shown => true,
            Reminder::Never => **state != RecoveryState::NeedsSetup,
        };
        let way = setup::bar(self.recovery.as_ref().filter(is_told)?);
        way.or_else(|| setup::saving_bar(&self.backup))
    }

    /// Whether the user can do something about what that bar says.
    pub(in crate::tui) fn setup_waits(&self) -> bool {
        self.auth.is_some() || self.recovery.as_ref().is_some_and(setup::is_waiting_for_user)
    }

    /// Somebody writes: what comes up now must not take the letters that follow.
    pub(in crate::tui) fn note_writing(&mut self) {
        self.awaits_question = false;
    }

    /// Whether a question that was asked for may open now.
    pub(in crate::tui) fn opens_question(&self) -> bool {
        self.awaits_question && self.overlay.is_none()
    }

    /// Rows of what stands above all else: warnings, and the way to the account's keys.
    fn bar_rows(&self) -> usize {
        self.alarms.len().min(MOST_ALARM_ROWS) + usize::from(self.setup_bar().is_some())
    }

    /// Columns of the composer's text.
    pub(in crate::tui) fn composer_columns(&self) -> usize {
        usize::from(self.areas.composer.width.saturating_sub(PROMPT_COLUMNS))
    }

    /// Divides the screen again, after anything that changes sizes.
    pub(in crate::tui) fn divide(&mut self) {
        let narrow = if self.current.is_none() {
            Focus::Rooms.narrow_pane()
        } else {
            self.focus.narrow_pane()
        };
        let mut needs = Needs {
            size: self.size,
            narrow,
            composer_rows: 1,
            alarm_rows: as_rows(self.bar_rows()),
            context_rows: self.pane().map_or(0, |pane| pane.composer.context_rows()),
        };
        // The composer's width does not depend on its height.
        self.areas = Areas::divide(needs);
        let columns = self.composer_columns();
        needs.composer_rows =
            self.pane().map_or(1, |pane| as_rows(pane.composer.rows(columns).len()));
        self.areas = Areas::divide(needs);
    }
}

fn as_rows(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
