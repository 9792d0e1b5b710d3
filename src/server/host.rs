//! The thread that owns the model and its database. Calls that arrive together are written
//! together, and no answer leaves before its changes are on the disk. Calls with nothing to
//! answer yet wait here.

use std::{collections::BTreeMap, fmt, io, thread, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    db::{Database, DatabaseError},
    model::{Answer, Ask, Done, Model, Overlay, Work},
    work::perform,
};
use crate::{matrix::OwnedUserId, secret::Secret, time::Timestamp};

/// Calls that wait to be taken up.
const QUEUE: usize = 1024;
/// Most calls that are written together.
const BATCH: usize = 64;
/// Longest time that a call may wait for news.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// An answer with its whole body.
pub type Response = http::Response<Vec<u8>>;

/// A running server. Cheap to clone; the last one that goes ends it.
#[derive(Clone)]
pub struct Server {
    calls: mpsc::Sender<Errand>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server(..)")
    }
}

/// Why a server does not run, or gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No thread, or no clock for it.
    #[error("the server cannot start")]
    Start(#[from] io::Error),
    /// It has been stopped.
    #[error("the server has stopped")]
    Stopped,
}

impl Server {
    /// Starts the thread that serves.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(model: Model, database: Database) -> Result<Self, ServerError> {
        let (sender, calls) = mpsc::channel(QUEUE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let host = Host { model, database, waiting: Waiting::default(), work: JoinSet::new() };
        thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || runtime.block_on(host.run(calls)))?;
        Ok(Self { calls: sender })
    }

    /// Makes a call. Dropping the future gives it up.
    ///
    /// # Errors
    /// When the server has stopped.
    pub async fn call(
        &self,
        request: http::Request<Vec<u8>>,
        token: Option<Secret<String>>,
    ) -> Result<Response, ServerError> {
        let (reply, answer) = oneshot::channel();
        let errand = Errand { request, token, reply, done: None, latest: None };
        if self.calls.send(errand).await.is_err() {
            return Err(ServerError::Stopped);
        }
        answer.await.map_err(|_closed| ServerError::Stopped)
    }
}

/// A call and the way back.
struct Errand {
    request: http::Request<Vec<u8>>,
    token: Option<Secret<String>>,
    reply: oneshot::Sender<Response>,
    /// What came of the work that it asked for.
    done: Option<Done>,
    /// When it has to be answered, once it waits.
    latest: Option<Instant>,
}

/// The calls with nothing to answer yet.
#[derive(Default)]
struct Waiting {
    by_user: BTreeMap<OwnedUserId, Vec<Errand>>,
}

impl Waiting {
    fn add(&mut self, user: OwnedUserId, errand: Errand) {
        self.by_user.entry(user).or_default().push(errand);
    }

    fn take(&mut self, user: &OwnedUserId) -> Vec<Errand> {
        self.by_user.remove(user).unwrap_or_default()
    }

    /// When the first of them is late.
    fn deadline(&self) -> Option<Instant> {
        self.by_user.values().flatten().filter_map(|errand| errand.latest).min()
    }

    /// Those that are late; those whose caller is gone are forgotten.
    fn take_late(&mut self, now: Instant) -> Vec<Errand> {
        let mut late = Vec::new();
        self.by_user.retain(|_, errands| {
            errands.retain(|errand| !errand.reply.is_closed());
            late.extend(
                errands.extract_if(.., |errand| errand.latest.is_none_or(|latest| latest <= now)),
            );
            !errands.is_empty()
        });
        late
    }
}

/// Everything a server is made of.
struct Host {
    model: Model,
    database: Database,
    waiting: Waiting,
    work: JoinSet<(Errand, Done)>,
}

impl Host {
    async fn run(mut self, mut calls: mpsc::Receiver<Errand>) {
        loop {
            let deadline = self.waiting.deadline();
            let late = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let mut batch = tokio::select! {
                errand = calls.recv() => match errand {
                    Some(errand) => vec![errand],
                    None => return,
                },
                Some(done) = self.work.join_next() => match done {
                    Ok((errand, done)) => vec![Errand { done: Some(done), ..errand }],
                    Err(error) => {
                        tracing::error!(%error, "work that a call needed failed");
                        continue;
                    }
                },
                () = late => self.waiting.take_late(Instant::now()),
            };
            while batch.len() < BATCH
                && let Ok(errand) = calls.try_recv()
            {
                batch.push(errand);
            }
            self.serve(batch);
        }
    }

    /// Answers these calls, and those that they wake.
    fn serve(&mut self, batch: Vec<Errand>) {
        let mut next = batch;
        while !next.is_empty() {
            next = self.serve_once(next);
        }
    }

    /// Answers these calls; gives those that are to be asked again.
    fn serve_once(&mut self, batch: Vec<Errand>) -> Vec<Errand> {
        let (now, clock) = (now(), Instant::now());
        let mut overlay = Overlay::new(&self.database);
        let (mut answered, mut woken) = (Vec::new(), Vec::new());
        for errand in batch {
            let (parts, body) = errand.request.clone().into_parts();
            let ask = Ask {
                request: http::Request::from_parts(parts, body.as_slice()),
                token: errand.token.as_ref(),
                done: errand.done.as_ref(),
                is_late: errand.latest.is_some_and(|latest| latest <= clock),
            };
            let outcome = self.model.handle(&ask, &overlay, now, &mut fill);
            overlay.extend(outcome.changes);
            woken.extend(outcome.woken);
            match outcome.answer {
                Answer::Now(response) => answered.push((errand.reply, response)),
                Answer::Wait(user, time) => {
                    let latest = errand.latest.unwrap_or(clock + time.min(MAX_WAIT));
                    self.waiting.add(user, Errand { latest: Some(latest), ..errand });
                }
                Answer::Work(work) => begin(&mut self.work, work, errand),
            }
        }
        let changes = overlay.into_changes();
        match self.database.write(&changes) {
            Ok(()) => answered.into_iter().for_each(|(reply, response)| send(reply, response)),
            Err(error) => {
                report(&error);
                answered.into_iter().for_each(|(reply, _lost)| send(reply, unwritten()));
                return Vec::new();
            }
        }
        woken.iter().flat_map(|user| self.waiting.take(user)).collect()
    }
}

fn begin(tasks: &mut JoinSet<(Errand, Done)>, work: Work, errand: Errand) {
    tasks.spawn_blocking(move || (errand, perform(work)));
}

fn send(reply: oneshot::Sender<Response>, response: Response) {
    // It fails when nobody waits any more.
    drop(reply.send(response));
}

fn report(error: &DatabaseError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "nothing of these calls is written");
}

/// The answer to a call whose changes the disk refused: nothing happened, try again.
fn unwritten() -> Response {
    let body = r#"{"errcode":"M_UNKNOWN","error":"the server cannot write to its disk"}"#;
    let mut response = Response::new(body.as_bytes().to_vec());
    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    response
}

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the model's only clock")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn fill(bytes: &mut [u8]) {
    #[expect(clippy::expect_used, reason = "without randomness no token may be made")]
    getrandom::fill(bytes).expect("the system gives random bytes");
}
