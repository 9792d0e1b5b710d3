//! `verify`: one verification from the request to its end, a line for each step.

use std::{cell::Cell, fmt::Write as _, io, time::Duration};

use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{
    errand::Errand, error::HeadlessError, output::Output, people::safe, resolve::unexpected,
};
use crate::{
    engine::{
        CommandError, Emoji, Outcome, Request, Scan, Update, VerificationAct, VerificationId,
        VerificationStage as Stage, VerificationView,
    },
    matrix::{OwnedDeviceId, OwnedUserId},
    qr::{Ink, QrPicture},
};

/// How long a request of the other side is waited for; as long as a verification may take.
const LIFE: Duration = Duration::from_secs(10 * 60);
/// How long the side that was asked leaves it to the other to begin.
const COURTESY: Duration = Duration::from_secs(3);
/// How often it is asked whether everything was sent.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// How long another device of ours is given to ask for secrets afterwards.
const LINGER: Duration = Duration::from_secs(3);

/// How long an interrupted verification may take to tell the other side.
const FAREWELL: Duration = Duration::from_secs(5);

/// What to verify, and how.
#[derive(Debug)]
pub struct VerifyOptions {
    /// Whom; ourselves for another device of ours.
    pub user: OwnedUserId,
    /// Only this device of theirs.
    pub device: Option<OwnedDeviceId>,
    /// Who asks.
    pub begin: Begin,
    /// Who compares.
    pub compare: Comparer,
    /// What is done with codes.
    pub code: Code,
    /// Columns and rows of the terminal, if there is one.
    pub size: Option<(u16, u16)>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// We do.
    Ask,
    /// They do, or did.
    Await,
}

/// Who says that both sides show the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparer {
    /// The user, in a typed line.
    Typed,
    /// Whoever reads our output compares.
    Caller,
}

/// What is done with codes.
#[derive(Debug)]
pub enum Code {
    /// Nothing: emoji are compared.
    None,
    /// Ours is shown.
    Show,
    /// Theirs comes as a typed line of base64.
    Typed,
    /// Theirs is in a file, read by this when it is time.
    File(fn(&std::path::Path) -> io::Result<Vec<u8>>, std::path::PathBuf),
}

impl Code {
    fn scan(&self) -> Scan {
        match self {
            Self::None | Self::Show => Scan::No,
            Self::Typed | Self::File(..) => Scan::Yes,
        }
    }
}

/// One step, as scripts see it.
#[derive(Debug, Serialize)]
struct StepLine<'a> {
    step: &'static str,
    user_id: &'a OwnedUserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a OwnedDeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    emoji: Option<&'a [Emoji]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decimals: Option<[u16; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
}

/// The end, as scripts see it.
#[derive(Debug, Serialize)]
struct DoneLine<'a> {
    done: bool,
    user_id: &'a OwnedUserId,
    device_id: Option<&'a OwnedDeviceId>,
}

struct Session<'a> {
    errand: &'a mut Errand,
    output: &'a mut Output,
    options: &'a VerifyOptions,
    view: VerificationView,
    /// When we begin though the other side could.
    begin_at: Option<Instant>,
}

/// Verifies; returns when both sides hold the keys that they should. `interrupted` ends it, and
/// tells the other side.
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
    tokio::select! {
        result = whole((errand, &under_way), output, options, typed) => return result,
        () = interrupted => {}
    }
    if let Some(id) = under_way.get() {
        // Whether the other side heard of it or not, we end.
        drop(timeout(FAREWELL, cancel(errand, id)).await);
    }
    Err(failed("interrupted", "interrupted".to_owned()))
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
        tokio::time::sleep(ASK_AGAIN).await;
    }
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

/// Asks, once the keys of the other side are known.
async fn ask(
    errand: &mut Errand,
    options: &VerifyOptions,
) -> Result<VerificationView, HeadlessError> {
    loop {
        let (user, device) = (options.user.clone(), options.device.clone());
        let request = Request::Verify { user, device, scan: options.code.scan() };
        match errand.ask(request).await {
            Err(HeadlessError::Refused(error)) if error.code == "looking_up" => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            outcome => return view_of(outcome?),
        }
    }
}

/// Waits for a request of the other side and accepts it.
async fn awaited(
    errand: &mut Errand,
    options: &VerifyOptions,
) -> Result<VerificationView, HeadlessError> {
    let wanted = |view: &VerificationView| {
        let device = options.device.is_none() || options.device == view.device;
        view.user == options.user && device && view.stage == Stage::Invited
    };
    let known = errand.ask(Request::Verifications).await?;
    let Outcome::Verifications { all } = known else { return Err(unexpected(&known).into()) };
    let mut found = all.into_iter().find(wanted);
    let wait = async {
        while found.is_none() {
            if let Update::Verification(view) = errand.next().await? {
                found = Some(view).filter(wanted);
            }
        }
        Ok::<_, HeadlessError>(())
    };
    match timeout(LIFE, wait).await {
        Ok(ended) => ended?,
        Err(_elapsed) => {
            let message = format!("{} asked for no verification", options.user);
            return Err(failed("timeout", message));
        }
    }
    let Some(view) = found else { return Err(failed("timeout", String::new())) };
    errand.be_patient();
    let act = VerificationAct::Accept { scan: options.code.scan() };
    loop {
        match errand.ask(Request::Verification { id: view.id, act: act.clone() }).await {
            Err(HeadlessError::Refused(error)) if error.code == "looking_up" => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            outcome => return view_of(outcome?),
        }
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
            _ => Ok(()),
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
        let view = &self.view;
        let mut line = StepLine {
            step: step_word(&view.stage),
            user_id: &view.user,
            device_id: view.device.as_ref(),
            emoji: None,
            decimals: None,
            data: None,
        };
        match &view.stage {
            Stage::Compare { emoji, decimals } => {
                (line.emoji, line.decimals) = (Some(emoji.as_slice()), Some(*decimals));
            }
            Stage::Ready { code, .. } if matches!(self.options.code, Code::Show) => {
                line.data = code.as_deref();
            }
            Stage::Done | Stage::Cancelled { .. } => return Ok(()),
            Stage::Ready { .. }
            | Stage::Asked
            | Stage::Invited
            | Stage::Waiting
            | Stage::Confirmed
            | Stage::Scanned
            | Stage::Reciprocated
            | Stage::Elsewhere => {}
        }
        self.output.show(&line, |_| words(view, self.options))
    }

    /// Waits until the other side and the server have all they should, and says how it ended.
    async fn finish(&mut self) -> Result<(), HeadlessError> {
        match &self.view.stage {
            Stage::Done => {}
            Stage::Cancelled { code, .. } => {
                let name = if code.is_suspicious() { "policy" } else { code.as_str() };
                let message = format!("not verified: {} ({})", code.words(), safe(code.as_str()));
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
            while let Ok(update) = tokio::time::timeout_at(end, self.errand.next()).await {
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

fn failed(code: &str, message: String) -> HeadlessError {
    HeadlessError::Refused(CommandError { code: code.to_owned(), message })
}

fn view_of(outcome: Outcome) -> Result<VerificationView, HeadlessError> {
    let Outcome::Verification(view) = outcome else { return Err(unexpected(&outcome).into()) };
    Ok(view)
}

/// The base64 of a code that was read: the bytes themselves, or base64 already.
fn code_text(bytes: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    if bytes.starts_with(b"MATRIX") {
        return STANDARD.encode(bytes);
    }
    String::from_utf8_lossy(bytes).into_owned()
}

fn step_word(stage: &Stage) -> &'static str {
    match stage {
        Stage::Asked => "asked",
        Stage::Invited => "invited",
        Stage::Ready { .. } => "ready",
        Stage::Waiting => "waiting",
        Stage::Compare { .. } => "compare",
        Stage::Confirmed => "confirmed",
        Stage::Scanned => "scanned",
        Stage::Reciprocated => "reciprocated",
        Stage::Done => "done",
        Stage::Cancelled { .. } => "cancelled",
        Stage::Elsewhere => "elsewhere",
    }
}

fn whom(view: &VerificationView) -> String {
    let user = safe(view.user.as_str());
    match &view.device {
        Some(device) if view.is_own => format!("your device {}", safe(device.as_str())),
        Some(_) | None => user,
    }
}

/// A step in words for people; every question says what to type.
fn words(view: &VerificationView, options: &VerifyOptions) -> Option<String> {
    Some(match &view.stage {
        Stage::Asked => format!("asked {}; waiting until it is accepted there", whom(view)),
        Stage::Invited => format!("{} asks for a verification", whom(view)),
        Stage::Ready { code, .. } => match (&options.code, code) {
            (Code::Show, Some(code)) => picture(code, options.size),
            (Code::Show, None) => "the other side cannot read codes; waiting for emoji".to_owned(),
            (Code::Typed, _) => "paste the base64 of the other side's code:".to_owned(),
            (Code::None | Code::File(..), _) => format!("{} is there", whom(view)),
        },
        Stage::Compare { emoji, decimals } => compare(emoji, *decimals, options),
        Stage::Confirmed => "waiting until the other side confirms".to_owned(),
        Stage::Scanned => {
            let question = match options.compare {
                Comparer::Typed => "\nDoes the other side report success? Type yes or no:",
                Comparer::Caller => "",
            };
            format!("the code was scanned{question}")
        }
        Stage::Reciprocated => "scanned; waiting until the other side confirms".to_owned(),
        Stage::Elsewhere => "another device took it".to_owned(),
        Stage::Waiting | Stage::Done | Stage::Cancelled { .. } => return None,
    })
}

fn compare(emoji: &[Emoji], [one, two, three]: [u16; 3], options: &VerifyOptions) -> String {
    let mut text = "Both sides must show the same, in this order:\n\n".to_owned();
    for (place, emoji) in (1..).zip(emoji) {
        let Emoji { picture, name, .. } = emoji;
        // The name first: pictures are drawn with different widths.
        _ = writeln!(text, "  {place}  {name:<12}{picture}");
    }
    _ = write!(text, "\nor as numbers: {one} {two} {three}");
    if options.compare == Comparer::Typed {
        text.push_str("\nIs it the same on the other side? Type yes or no:");
    }
    text
}

/// The code, black on white whatever the terminal's colors are.
fn picture(code: &str, size: Option<(u16, u16)>) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let bytes = STANDARD.decode(code).ok();
    // A row for the words below.
    let room = size.map_or((usize::MAX, usize::MAX), |(width, height)| {
        (usize::from(width), usize::from(height.saturating_sub(1)))
    });
    let picture = bytes.and_then(|bytes| QrPicture::within(&bytes, room).ok());
    let Some(picture) = picture else { return "there is no code to show".to_owned() };
    let (columns, rows) = (picture.columns(), picture.rows());
    let fits = size
        .is_none_or(|(width, height)| columns <= usize::from(width) && rows < usize::from(height));
    if !fits {
        return format!(
            "the code needs a terminal of {columns} by {} characters; make it larger, or compare \
             emoji",
            rows + 1
        );
    }
    let lines = picture.lines(Ink::Dark).into_iter();
    let lines = lines.map(|line| format!("\u{1b}[38;5;16;48;5;231m{line}\u{1b}[0m"));
    let lines: Vec<String> = lines.collect();
    format!("{}\nscan this with the other device", lines.join("\n"))
}
