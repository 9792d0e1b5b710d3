//! What can stand over the screen: the help, the list of rooms, a line to type, a question.

use super::{setup, sheet::Sheet, verification};
use crate::{
    engine::{RecoveryWay, SecretText, VerificationId, VerificationView},
    matrix::{OwnedEventId, OwnedRoomId, OwnedUserId, SafeText},
};

/// Something over the screen; it takes the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Overlay {
    /// All keys.
    Help {
        /// Rows scrolled away at the top.
        scrolled: usize,
    },
    /// Something told in lines.
    Sheet {
        /// What.
        sheet: Sheet,
        /// Rows scrolled away at the top.
        scrolled: usize,
    },
    /// All rooms, filtered by what is typed.
    Switcher {
        /// What is typed.
        typed: String,
        /// Which of the matches is chosen.
        chosen: usize,
    },
    /// A line to type.
    Prompt {
        /// What for.
        kind: Prompt,
        /// What is typed.
        typed: String,
    },
    /// A secret to type; never shown.
    Secret {
        /// Which.
        kind: SecretPrompt,
        /// What is typed.
        typed: SecretText,
    },
    /// A code for another device to scan.
    Code {
        /// Of which verification.
        id: VerificationId,
        /// Base64 of its bytes.
        code: String,
    },
    /// A question with a few answers.
    Question {
        /// Which.
        kind: Question,
        /// Which of the answers is chosen.
        chosen: usize,
    },
}

/// Which secret is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum SecretPrompt {
    /// The recovery key, or the passphrase it was made of.
    Recovery,
    /// The account's password, to replace its identity.
    Password {
        /// Why the last one was refused, safe; empty at first.
        refused: String,
    },
}

impl SecretPrompt {
    /// Says what is wanted.
    pub(in crate::tui) fn title(&self) -> String {
        match self {
            Self::Recovery => "Recovery key or passphrase".to_owned(),
            Self::Password { refused } if refused.is_empty() => {
                "Password of this account".to_owned()
            }
            Self::Password { refused } => format!("Password of this account ({refused})"),
        }
    }
}

/// What is asked for in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Prompt {
    /// The name of a new room.
    NewRoom,
    /// With whom to chat.
    NewDirect,
    /// A room's id or alias.
    Join,
    /// Whom to invite.
    Invite(OwnedRoomId),
    /// What to react with.
    React {
        /// In which room.
        room: OwnedRoomId,
        /// To what.
        event: OwnedEventId,
    },
}

impl Prompt {
    /// Says what is wanted.
    pub(in crate::tui) fn title(&self) -> &'static str {
        match self {
            Self::NewRoom => "New encrypted room: its name",
            Self::NewDirect => "New direct chat: with whom (@name:server)",
            Self::Join => "Join a room: #alias:server or !id",
            Self::Invite(_) => "Invite: @name:server",
            Self::React { .. } => "React: emoji, :name: or text",
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Question {
    /// Whether to remove a message.
    Redact {
        /// In which room.
        room: OwnedRoomId,
        /// Which.
        event: OwnedEventId,
        /// How it begins; safe text.
        shown: String,
    },
    /// Whether to leave a room.
    Leave {
        /// Which.
        room: OwnedRoomId,
        /// Its name; safe text.
        name: String,
    },
    /// What to do with an invite.
    Invitation {
        /// To which room.
        room: OwnedRoomId,
        /// Its name, unless that is only who invites; safe text.
        name: String,
        /// Who invites; safe text.
        inviter: String,
    },
    /// How to get at the account's keys.
    Recover {
        /// What there is.
        ways: Vec<RecoveryWay>,
    },
    /// Whether to make a recovery key.
    SetUpRecovery,
    /// How to let the recovery key open what the account's keys are now.
    RecoveryOutOfDate,
    /// Whether to make a new recovery key in the place of the present one.
    RenewRecoveryKey,
    /// Whether to give the account's keys up and make new ones.
    StartFresh,
    /// Whether the recovery key was written down.
    KeepRecoveryKey {
        /// The key.
        key: SecretText,
    },
    /// Whether the page was visited on which the server wants the user to prove who they are.
    AuthPage {
        /// Its address, safe.
        page: String,
    },
    /// What to do about an identity that changed.
    ChangedIdentity {
        /// Whose.
        user: OwnedUserId,
        /// Whether it had been verified.
        was_verified: bool,
    },
    /// What to do in a verification.
    Verification(Box<VerificationView>),
    /// Whether to quit.
    Quit {
        /// How many messages are on their way.
        waiting: usize,
        /// How many were given up.
        failed: usize,
    },
}

/// What the user answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Answer {
    /// Do it.
    Yes,
    /// Refuse the invite.
    Decline,
    /// Type the recovery key or passphrase.
    TypeSecret,
    /// Ask another device of the account.
    OtherDevice,
    /// Make a new recovery key.
    NewKey,
    /// Begin with new keys, after a question.
    StartFresh,
    /// Verify the user.
    Verify,
    /// Show a code for the other side to scan.
    ShowCode,
    /// Say that both sides do not show the same.
    Differ,
    /// Do nothing.
    Cancel,
}

impl Question {
    /// What it is about, for the frame; safe to show.
    pub(in crate::tui) fn title(&self) -> String {
        let words = match self {
            Self::Redact { .. } => "Remove",
            Self::Leave { .. } => "Leave",
            Self::Invitation { .. } => "Invitation",
            Self::Recover { .. } => "New device",
            Self::SetUpRecovery
            | Self::RecoveryOutOfDate
            | Self::RenewRecoveryKey
            | Self::KeepRecoveryKey { .. } => "Recovery key",
            Self::StartFresh => "Start fresh",
            Self::AuthPage { .. } => "Confirm",
            Self::ChangedIdentity { .. } => "Changed identity",
            Self::Verification(view) => return verification::title(view),
            Self::Quit { .. } => "Quit",
        };
        words.to_owned()
    }

    /// Whether its last lines matter most where not all of them fit.
    pub(in crate::tui) fn is_end_first(&self) -> bool {
        matches!(self, Self::Verification(view) if verification::is_comparison(view))
    }

    /// The question, in words.
    pub(in crate::tui) fn text(&self) -> String {
        match self {
            Self::Redact { shown, .. } => {
                format!("Remove this message for everybody?\n“{shown}”")
            }
            Self::Leave { name, .. } => {
                format!("Leave {name}? Without a new invite you may not come back.")
            }
            Self::Invitation { name, inviter, .. } if name.is_empty() => {
                format!("{inviter} invites you to chat.")
            }
            Self::Invitation { name, inviter, .. } => {
                format!("{inviter} invites you to {name}.")
            }
            Self::Recover { .. } => {
                "Messages from before this login are locked, and others do not trust this device \
                 yet. Once is enough, with your recovery key or another device of yours."
                    .to_owned()
            }
            Self::SetUpRecovery => {
                "Make a recovery key? With it, and only with it or another device of yours, a new \
                 login reads old messages. Without one, losing this device loses them."
                    .to_owned()
            }
            Self::RecoveryOutOfDate => {
                "The account's keys changed while the recovery key was not at hand, so it does not \
                 open the newest ones. Type it once and it does; if it is lost, make a new one."
                    .to_owned()
            }
            Self::RenewRecoveryKey => {
                "This device has the account's keys, and the recovery key opens them. Make a new \
                 recovery key? The present one opens nothing any more once you have the new one."
                    .to_owned()
            }
            Self::StartFresh => {
                "Give up the account's keys and make new ones? Messages that only the old keys open \
                 stay locked for ever, your other devices must be verified anew, and everybody you \
                 write with is told that your identity was reset."
                    .to_owned()
            }
            Self::KeepRecoveryKey { key } => {
                let key = setup::written_out(key.expose());
                format!(
                    "Your recovery key:\n\n{key}\n\nWrite it down or keep it in a password \
                     manager. Whoever has it and your password reads everything. It is shown again \
                     until you say that you have it."
                )
            }
            Self::AuthPage { page } => {
                format!("The server wants you to confirm this on a page of its own:\n{page}")
            }
            Self::ChangedIdentity { user, was_verified } => {
                let user = SafeText::line(user.as_str());
                let before = if *was_verified { "You had verified" } else { "You wrote with" };
                format!(
                    "{before} {user} under another identity. They may have reset it, or somebody \
                     else (a server too) pretends to be them. Nothing is sent here until this is \
                     settled; best ask them by another way."
                )
            }
            Self::Verification(view) => verification::text(view),
            Self::Quit { waiting, failed } => {
                let line = |words: &str, count: &usize| match count {
                    0 => String::new(),
                    count => format!("\n{words}: {count}"),
                };
                let waiting = line("Not sent yet, goes out next time", waiting);
                let failed = line("Could not be sent, can be tried again next time", failed);
                format!("Quit grotto?{waiting}{failed}")
            }
        }
    }

    /// The answers, the first of which `y` chooses.
    pub(in crate::tui) fn answers(&self) -> Vec<(Answer, &'static str)> {
        let or = |yes, no| vec![(Answer::Yes, yes), (Answer::Cancel, no)];
        match self {
            Self::Redact { .. } => or("Remove it", "Keep it"),
            Self::Leave { .. } => or("Leave", "Stay"),
            Self::Invitation { .. } => vec![
                (Answer::Yes, "Join"),
                (Answer::Decline, "Decline"),
                (Answer::Cancel, "Decide later"),
            ],
            Self::Recover { ways } => setup::ways(ways),
            Self::SetUpRecovery => or("Make a recovery key", "Decide later"),
            Self::RecoveryOutOfDate => vec![
                (Answer::TypeSecret, "Type the recovery key"),
                (Answer::NewKey, "It is lost: make a new one"),
                (Answer::Cancel, "Decide later"),
            ],
            Self::RenewRecoveryKey => or("Make a new one", "Keep the present one"),
            Self::StartFresh => or("Give them up", "Keep them"),
            Self::KeepRecoveryKey { .. } => or("I have it", "Show it again later"),
            Self::AuthPage { .. } => or("I have done it", "Not now"),
            Self::ChangedIdentity { was_verified, .. } => {
                let accept = if *was_verified { "Go on unverified" } else { "Accept the new one" };
                vec![
                    (Answer::Verify, "Verify them"),
                    (Answer::Yes, accept),
                    (Answer::Cancel, "Decide later"),
                ]
            }
            Self::Verification(view) => verification::answers(view),
            Self::Quit { .. } => or("Quit", "Stay"),
        }
    }

    /// The answer that is chosen at first: the one that loses nothing.
    pub(in crate::tui) fn first_choice(&self) -> usize {
        match self {
            Self::Redact { .. }
            | Self::Leave { .. }
            | Self::RenewRecoveryKey
            | Self::StartFresh
            | Self::KeepRecoveryKey { .. } => 1,
            Self::Invitation { .. } | Self::ChangedIdentity { .. } => 2,
            Self::Verification(view) => verification::first_choice(view),
            Self::Recover { .. }
            | Self::SetUpRecovery
            | Self::RecoveryOutOfDate
            | Self::AuthPage { .. }
            | Self::Quit { .. } => 0,
        }
    }
}
