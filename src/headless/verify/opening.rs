//! How a verification comes about: we ask, or the other side does.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::options::VerifyOptions;
use crate::{
    engine::{
        CommandError, Outcome, Request, Update, VerificationAct, VerificationStage as Stage,
        VerificationView,
    },
    headless::{errand::Errand, error::HeadlessError, resolve::unexpected},
};

/// How long a request of the other side is waited for; as long as a verification may take.
const LIFE: Duration = Duration::from_secs(10 * 60);
/// How often it is asked again while keys are looked up, or not everything was sent.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(100);
/// What is refused with this is to be asked again.
const LOOKING_UP: &str = "looking_up";

/// Asks, once the keys of the other side are known.
pub(super) async fn ask(
    errand: &mut Errand,
    options: &VerifyOptions,
) -> Result<VerificationView, HeadlessError> {
    let (user, device) = (options.user.clone(), options.device.clone());
    let request = Request::Verify { user, device, scan: options.code.scan() };
    once_known(errand, &request).await
}

/// Asks the engine again and again, while it looks keys up.
async fn once_known(
    errand: &mut Errand,
    request: &Request,
) -> Result<VerificationView, HeadlessError> {
    loop {
        match errand.ask(request.clone()).await {
            Err(HeadlessError::Refused(error)) if error.code == LOOKING_UP => {
                sleep(ASK_AGAIN).await;
            }
            outcome => return view_of(outcome?),
        }
    }
}

/// Waits for a request of the other side and accepts it.
pub(super) async fn awaited(
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
        loop {
            if let Some(view) = found {
                return Ok::<_, HeadlessError>(view);
            }
            if let Update::Verification(view) = errand.next().await? {
                found = Some(view).filter(wanted);
            }
        }
    };
    let view = match timeout(LIFE, wait).await {
        Ok(view) => view?,
        Err(_elapsed) => {
            let message = format!("{} asked for no verification", options.user);
            return Err(failed("timeout", message));
        }
    };
    errand.be_patient();
    let act = VerificationAct::Accept { scan: options.code.scan() };
    once_known(errand, &Request::Verification { id: view.id, act }).await
}

/// The end of a verification, with a name for scripts.
pub(super) fn failed(code: &str, message: String) -> HeadlessError {
    HeadlessError::Refused(CommandError { code: code.to_owned(), message })
}

pub(super) fn view_of(outcome: Outcome) -> Result<VerificationView, HeadlessError> {
    let Outcome::Verification(view) = outcome else { return Err(unexpected(&outcome).into()) };
    Ok(view)
}
