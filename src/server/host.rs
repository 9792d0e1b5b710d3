//! The thread that owns the model and its database. Calls that arrive together are written
//! together, and no answer leaves before its changes are on the disk. Calls with nothing to
//! answer yet wait here.

use std::{collections::BTreeSet, fmt, io, sync::Arc, thread, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    db::{Database, DatabaseError},
    model::{Answer, Ask, Done, MediaDone, MediaJob, Model, Overlay, Refusal, Settings, Work},
    waiting::{Patient, Waiting},
    work::perform,
};
use crate::{secret::Secret, time::Timestamp};

/// Calls that wait to be taken up.
const QUEUE: usize = 1024;
/// Most calls that are written together.
const BATCH: usize = 64;
/// Longest time that a call waits for others to be written with it.
const MAX_PAUSE: Duration = Duration::from_millis(2);
/// Slow computations at once: each takes a core and 20 MB for some 20 ms.
const WORKERS: usize = 2;
/// Most slow computations that wait; who comes beyond is told to come again.
const MAX_WORK: usize = 256;
/// When they may come again.
const WORK_PAUSE: Duration = Duration::from_secs(2);
/// Longest time that a call may wait for news.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Large bodies of requests in memory at once: with those of 4 MiB each, 64 MiB.
const LARGE_BODIES: usize = 16;

/// An answer with its whole body.
pub(super) type Response = http::Response<Vec<u8>>;

/// A running server. Cheap to clone; the last one that goes ends it.
#[derive(Clone)]
pub struct Server {
    jobs: mpsc::Sender<Job>,
    settings: Arc<Settings>,
    large_bodies: Arc<Semaphore>,
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
        let (sender, jobs) = mpsc::channel(QUEUE);
        let settings = Arc::new(model.settings().clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(WORKERS)
            .build()?;
        let (waiting, work, pause) = (Waiting::default(), JoinSet::new(), Duration::ZERO);
        let host = Host { model, database, waiting, work, pause };
        thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || runtime.block_on(host.run(jobs)))?;
        let large_bodies = Arc::new(Semaphore::new(LARGE_BODIES));
        Ok(Self { jobs: sender, settings, large_bodies })
    }

    /// One whose thread is gone.
    #[cfg(test)]
    pub(super) fn gone(settings: Settings) -> Self {
        let (jobs, _gone) = mpsc::channel(1);
        let large_bodies = Arc::new(Semaphore::new(LARGE_BODIES));
        Self { jobs, settings: Arc::new(settings), large_bodies }
    }

    /// Places for large bodies of requests.
    pub(super) fn large_bodies(&self) -> &Semaphore {
        &self.large_bodies
    }

    /// Whether its thread is there to answer.
    pub(super) fn is_running(&self) -> bool {
        !self.jobs.is_closed()
    }

    /// How it is set up.
    pub fn settings(&self) -> &Settings {
        &self.settings
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
        if self.jobs.send(Job::Call(errand)).await.is_err() {
            return Err(ServerError::Stopped);
        }
        answer.await.map_err(|_closed| ServerError::Stopped)
    }

    /// Does something with a file.
    ///
    /// # Errors
    /// What the caller is to be told: not allowed, not there, too large, or the server has stopped.
    pub async fn media(&self, job: MediaJob) -> Result<MediaDone, Refusal> {
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Media(job, reply)).await.is_err() {
            return Err(stopped());
        }
        answer.await.unwrap_or_else(|_closed| Err(stopped()))
    }
}

fn stopped() -> Refusal {
    Refusal::new(503, "M_UNKNOWN", "the server is stopping")
}

/// What the thread is asked to do.
enum Job {
    Call(Errand),
    Media(MediaJob, oneshot::Sender<Result<MediaDone, Refusal>>),
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

impl Patient for Errand {
    fn latest(&self) -> Option<Instant> {
        self.latest
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn size(&self) -> usize {
        let headers = self.request.headers().iter();
        let headers: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
        let target = self.request.uri().path_and_query().map_or(0, |it| it.as_str().len());
        self.request.body().len() + headers + target
    }
}

/// Takes the calls that are there, and those that come within the pause.
async fn gather(batch: &mut Vec<Job>, jobs: &mut mpsc::Receiver<Job>, pause: Duration) {
    let until = Instant::now() + pause;
    while batch.len() < BATCH {
        let Ok(job) = jobs.try_recv() else {
            match timeout_at(until, jobs.recv()).await {
                Ok(Some(job)) => batch.push(job),
                Ok(None) | Err(_) => return,
            }
            continue;
        };
        batch.push(job);
    }
}

/// Everything a server is made of.
struct Host {
    model: Model,
    database: Database,
    waiting: Waiting<Errand>,
    work: JoinSet<(Errand, Done)>,
    /// How long the first of the next calls waits for others, to share its wait for the disk.
    pause: Duration,
}

impl Host {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            let deadline = self.waiting.deadline();
            let late = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let mut batch = tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => vec![job],
                    None => return,
                },
                Some(done) = self.work.join_next() => match done {
                    Ok((errand, done)) => vec![Job::Call(Errand { done: Some(done), ..errand })],
                    Err(error) => {
                        tracing::error!(%error, "work that a call needed failed");
                        continue;
                    }
                },
                () = late => {
                    self.waiting.take_late(Instant::now()).into_iter().map(Job::Call).collect()
                }
            };
            gather(&mut batch, &mut jobs, self.pause).await;
            self.serve(batch);
        }
    }

    /// Does these jobs, and answers the calls that they wake.
    fn serve(&mut self, batch: Vec<Job>) {
        let mut next = batch;
        while !next.is_empty() {
            next = self.serve_once(next);
        }
    }

    /// Does these jobs; gives the calls that are to be asked again.
    fn serve_once(&mut self, batch: Vec<Job>) -> Vec<Job> {
        let (now, clock) = (now(), Instant::now());
        let begun = self.database.begin();
        let mut overlay = Overlay::new(&self.database);
        let mut woken = BTreeSet::new();
        let (mut replies, mut crowded_out) = (Vec::new(), Vec::new());
        for job in batch {
            let errand = match job {
                Job::Call(errand) => errand,
                Job::Media(job, reply) => {
                    let (result, changes) = self.model.media(job, &overlay, now, &mut fill);
                    overlay.extend(changes);
                    replies.push(Reply::Media(reply, result));
                    continue;
                }
            };
            let is_late = errand.latest.is_some_and(|latest| latest <= clock);
            let outcome = self.model.handle(&errand.ask(is_late), &overlay, now, &mut fill);
            overlay.extend(outcome.changes);
            woken.extend(outcome.woken);
            match outcome.answer {
                Answer::Now(response) => replies.push(Reply::Call(errand.reply, response)),
                Answer::Wait(user, time) => {
                    let latest = errand.latest.unwrap_or(clock + time.min(MAX_WAIT));
                    let left = self.waiting.add(user, Errand { latest: Some(latest), ..errand });
                    crowded_out.extend(left);
                }
                Answer::Work(_) if MAX_WORK <= self.work.len() => {
                    let refusal = Refusal::too_often(WORK_PAUSE);
                    replies.push(Reply::Call(errand.reply, refusal.response()));
                }
                Answer::Work(work) => begin(&mut self.work, work, errand),
            }
        }
        let changes = overlay.into_changes();
        let (writing, together) = (Instant::now(), replies.len());
        let committed = begun.and_then(|()| self.database.commit(&changes));
        if !changes.is_empty() {
            self.pause = pause_after(writing.elapsed(), together);
        }
        if let Err(error) = committed {
            report(&error);
            self.model.forget();
            let left = crowded_out.into_iter().map(|it| Reply::Call(it.reply, Response::default()));
            replies.into_iter().chain(left).for_each(Reply::refuse);
            return Vec::new();
        }
        replies.into_iter().for_each(Reply::send);
        let crowded_out =
            crowded_out.into_iter().map(|errand| Errand { latest: Some(clock), ..errand });
        let woken = woken.iter().flat_map(|user| self.waiting.take(user));
        crowded_out.chain(woken).map(Job::Call).collect()
    }
}

/// How long the next batch waits for more calls, when these took so long to write together.
fn pause_after(writing: Duration, together: usize) -> Duration {
    // Whoever is alone waits for nobody.
    let part = if together < 2 { 0 } else { 4 };
    writing.checked_div(part).unwrap_or_default().min(MAX_PAUSE)
}

impl Errand {
    fn ask(&self, is_late: bool) -> Ask<'_> {
        let mut request = http::Request::new(self.request.body().as_slice());
        self.request.method().clone_into(request.method_mut());
        self.request.uri().clone_into(request.uri_mut());
        self.request.headers().clone_into(request.headers_mut());
        self.request.extensions().clone_into(request.extensions_mut());
        Ask { request, token: self.token.as_ref(), done: self.done.as_ref(), is_late }
    }
}

/// An answer on its way, which leaves once everything is written. Sending it fails when nobody
/// waits any more.
enum Reply {
    Call(oneshot::Sender<Response>, Response),
    Media(oneshot::Sender<Result<MediaDone, Refusal>>, Result<MediaDone, Refusal>),
}

impl Reply {
    fn send(self) {
        match self {
            Self::Call(reply, response) => drop(reply.send(response)),
            Self::Media(reply, result) => drop(reply.send(result)),
        }
    }

    /// Says instead that the disk refused: nothing happened, try again.
    fn refuse(self) {
        match self {
            Self::Call(reply, _lost) => drop(reply.send(unwritten().response())),
            Self::Media(reply, _lost) => drop(reply.send(Err(unwritten()))),
        }
    }
}

fn unwritten() -> Refusal {
    Refusal::new(503, "M_UNKNOWN", "the server cannot write to its disk")
}

fn begin(tasks: &mut JoinSet<(Errand, Done)>, work: Work, errand: Errand) {
    tasks.spawn_blocking(move || (errand, perform(work)));
}

fn report(error: &DatabaseError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(%error, cause, "nothing of these calls is written");
}

pub(super) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the model's only clock")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn fill(bytes: &mut [u8]) {
    #[expect(clippy::expect_used, reason = "without randomness no token may be made")]
    getrandom::fill(bytes).expect("the system gives random bytes");
}
