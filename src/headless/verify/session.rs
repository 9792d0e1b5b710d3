//! A verification under way: what each step needs, from the user or without a question.

use std::{cell::Cell, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{
    opening::{ASK_AGAIN, ask, awaited, failed, view_of},
    options::{Begin, Code, Comparer, VerifyOptions},
    words::{DoneLine, step_line, whom, words},
};
use crate::{
    engine::{
        Outcome, Request, Update, VerificationAct, VerificationId, VerificationStage as Stage,
        VerificationView,
    },
    headless::{
        errand::Errand, error::HeadlessError, output::Output, people::safe, resolve::unexpected,
    },
};

/// How long the side that was asked leaves it to the other to begin.
const COURTESY: Duration = Duration::from_secs(3);
/// How long another device of ours is given to ask for secrets afterwards.
const LINGER: Duration = Duration::from_secs(3);
/// How long an interrupted verification may take to tell the other side.
const FAREWELL: Duration = Duration::from_secs(5);

struct Session<'a> {
    errand: &'a mut Errand,
    output: &'a mut Output,
    options: &'a VerifyOptions,
    view: VerificationView,
    /// When we begin though the other side could.
    begin_at: Option<Instant>,
}

/// Verifies; returns when both sides hold the keys that they should. `interrupted` ends it. However
/// it ends without a result, the other side is told.
///
/// # Errors
/// When it cannot begin, or ends without a result.
pub async fn verify(
    errand: &mut Errand,
    output: &mut Output,
    options: &VerifyOptions,
    typed: &mut mpsc::Receiver<String>,
    interrupted: impl Future<Output = ()>,
) -> Result<(), HeadlessError> {
    let under_way = Cell::new(None);
    let result = tokio::select! {
        result = whole((errand, &under_way), output, options, typed) => result,
        () = interrupted => Err(failed("interrupted", "interrupted".to_owned())),
    };
    if let (Err(_), Some(id)) = (&result, under_way.get()) {
        // Whether the other side hears of it or not, and whether it is over already, we end.
        drop(timeout(FAREWELL, cancel(errand, id)).await);
    }
    result
}

/// The verification from beginning to end; says which one it is as soon as there is one.
async fn whole(
    (errand, under_way): (&mut Errand, &Cell<Option<VerificationId>>),
    output: &mut Output,
    options: &VerifyOptions,
    typed: &mut mpsc::Receiver<String>,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let view = match options.begin {
        Begin::Ask => ask(errand, options).await?,
        Begin::Await => awaited(errand, options).await?,
    };
    under_way.set(Some(view.id));
    let mut session = Session { errand, output, options, view: view.clone(), begin_at: None };
    session.take(view).await?;
    session.run(typed).await?;
    session.finish().await
}

/// Ends a verification and waits until the server knows.
async fn cancel(errand: &mut Errand, id: VerificationId) -> Result<(), HeadlessError> {
    errand.be_patient();
    let act = VerificationAct::Cancel;
    errand.ask(Request::Verification { id, act }).await?;
    all_sent(errand).await
}

/// Waits until the server has everything.
async fn all_sent(errand: &mut Errand) -> Result<(), HeadlessError> {
    errand.be_patient();
    loop {
        let outcome = errand.ask(Request::Unsent).await?;
        let Outcome::Unsent { count } = outcome else {
            return Err(unexpected(&outcome).into());
        };
        if count == 0 {
            return Ok(());
        }
        sleep(ASK_AGAIN).await;
    }
}

impl Session<'_> {
    fn id(&self) -> VerificationId {
        self.view.id
    }

    async fn act(&mut self, act: VerificationAct) -> Result<(), HeadlessError> {
        self.errand.be_patient();
        let id = self.id();
        let outcome = self.errand.ask(Request::Verification { id, act }).await?;
        let view = view_of(outcome)?;
        Box::pin(self.take(view)).await
    }

    /// Goes on until it is over.
    async fn run(&mut self, typed: &mut mpsc::Receiver<String>) -> Result<(), HeadlessError> {
        while !self.view.stage.is_over() {
            let begin_at = self.begin_at;
            tokio::select! {
                update = self.errand.next() => {
                    if let Update::Verification(view) = update?
                        && view.id == self.id()
                    {
                        self.take(view).await?;
                        self.forget_early(typed);
                    }
                }
                line = typed.recv(), if self.wants_line() => {
                    let Some(line) = line else {
                        return Err(failed("no_answer", "nobody is there to compare".to_owned()));
                    };
                    self.answer(line.trim()).await?;
                }
                () = until(begin_at), if begin_at.is_some() => {
                    self.begin_at = None;
                    if matches!(self.view.stage, Stage::Ready { emoji: true, .. }) {
                        self.act(VerificationAct::StartSas).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What was typed before both sides showed something says nothing about it.
    fn forget_early(&self, typed: &mut mpsc::Receiver<String>) {
        if matches!(self.view.stage, Stage::Compare { .. } | Stage::Scanned) {
            while typed.try_recv().is_ok() {}
        }
    }

    /// Whether a typed line is waited for.
    fn wants_line(&self) -> bool {
        match self.view.stage {
            Stage::Ready { .. } => matches!(self.options.code, Code::Typed),
            Stage::Compare { .. } | Stage::Scanned => self.options.compare == Comparer::Typed,
            Stage::Asked
            | Stage::Invited
            | Stage::Waiting
            | Stage::Confirmed
            | Stage::Reciprocated
            | Stage::Done
            | Stage::Cancelled { .. }
            | Stage::Elsewhere => false,
        }
    }

    async fn answer(&mut self, line: &str) -> Result<(), HeadlessError> {
        if matches!(self.view.stage, Stage::Ready { .. }) {
            return self.act(VerificationAct::Scanned { code: line.to_owned() }).await;
        }
        match line.to_ascii_lowercase().as_str() {
            "y" | "yes" => self.act(VerificationAct::Confirm).await,
            "n" | "no" => self.act(VerificationAct::Mismatch).await,
            _ => self.ask_again(),
        }
    }

    /// Shows a step and does what needs no question.
    async fn take(&mut self, view: VerificationView) -> Result<(), HeadlessError> {
        let is_news = self.view.stage != view.stage || !view.stage.is_over();
        self.view = view;
        if is_news {
            self.show()?;
        }
        match &self.view.stage {
            Stage::Ready { .. } => self.on_ready().await,
            Stage::Compare { .. } | Stage::Scanned if self.options.compare == Comparer::Caller => {
                self.act(VerificationAct::Confirm).await
            }
            Stage::Asked
            | Stage::Invited
            | Stage::Waiting
            | Stage::Compare { .. }
            | Stage::Confirmed
            | Stage::Scanned
            | Stage::Reciprocated
            | Stage::Done
            | Stage::Cancelled { .. }
            | Stage::Elsewhere => Ok(()),
        }
    }

    async fn on_ready(&mut self) -> Result<(), HeadlessError> {
        match &self.options.code {
            Code::None if self.options.begin == Begin::Ask => {
                self.act(VerificationAct::StartSas).await
            }
            Code::None => {
                self.begin_at = Some(Instant::now() + COURTESY);
                Ok(())
            }
            Code::Show | Code::Typed => Ok(()),
            Code::File(read, path) => {
                let bytes = read(path).map_err(HeadlessError::Input)?;
                self.act(VerificationAct::Scanned { code: code_text(&bytes) }).await
            }
        }
    }

    fn show(&mut self) -> Result<(), HeadlessError> {
        let Some(line) = step_line(&self.view, self.options) else { return Ok(()) };
        self.output.show(&line, |_| words(&self.view, self.options))
    }

    /// What was typed is no answer. Scripts were told what is waited for.
    fn ask_again(&mut self) -> Result<(), HeadlessError> {
        self.output.say("Type yes or no:")
    }

    /// Waits until the other side and the server have all they should, and says how it ended.
    async fn finish(&mut self) -> Result<(), HeadlessError> {
        match &self.view.stage {
            Stage::Done => {}
            Stage::Cancelled { code, .. } => {
                let name = if code.is_suspicious() { "policy" } else { code.as_str() };
                let why = safe(&code.explained());
                let message = format!("not verified: {why} ({})", safe(code.as_str()));
                return Err(failed(name, message));
            }
            Stage::Asked
            | Stage::Invited
            | Stage::Ready { .. }
            | Stage::Waiting
            | Stage::Compare { .. }
            | Stage::Confirmed
            | Stage::Scanned
            | Stage::Reciprocated
            | Stage::Elsewhere => {
                return Err(failed("elsewhere", "another device took it".to_owned()));
            }
        }
        if self.view.is_own {
            // The other device asks this one for secrets now, or the other way around.
            let end = Instant::now() + LINGER;
            while let Ok(update) = timeout_at(end, self.errand.next()).await {
                update?;
            }
        }
        all_sent(self.errand).await?;
        let view = &self.view;
        let done = DoneLine { done: true, user_id: &view.user, device_id: view.device.as_ref() };
        let words = format!("verified {}", whom(view));
        self.output.show(&done, |_| Some(words))
    }
}

async fn until(at: Option<Instant>) {
    if let Some(at) = at {
        sleep_until(at).await;
    }
}

/// The base64 of a code that was read: the bytes themselves, or base64 already.
fn code_text(bytes: &[u8]) -> String {
    if bytes.starts_with(b"MATRIX") {
        return STANDARD.encode(bytes);
    }
    String::from_utf8_lossy(bytes).into_owned()
}
