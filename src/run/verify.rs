//! `verify`: compares keys with another user or device, while somebody types answers.

use std::{
    fs::File,
    io::{self, BufRead as _, Read as _},
    path::Path,
};

use tokio::{runtime::Builder, sync::mpsc};

use super::{
    account, commands::verdict, context::Context, control::Stay, failure::Failure,
    process::EndSignals, seat::Seat, secrets, start,
};
use crate::{
    cli::{Exit, FileOrStdin, VerifyArgs},
    headless::{self, Begin, Code, Comparer, VerifyOptions},
};

/// Longest file with a code that is read, in bytes.
const MOST_CODE_BYTES: u64 = 8 << 10;
/// Lines that are typed ahead.
const TYPED_AHEAD: usize = 4;

/// Verifies.
///
/// # Errors
/// With words and exit code.
pub(super) fn run(context: &Context, arguments: VerifyArgs) -> Result<(), Failure> {
    let options = options(arguments)?;
    let chosen = account::choose(context)?;
    let mut output = start::output(&context.global);
    let mut typed = typed_lines(&options)?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let seat = Seat::take(context, &chosen, Stay::Long).await?;
        let mut signals = EndSignals::install()?;
        let work = async |errand: &mut _| {
            let (output, typed) = (&mut output, &mut typed);
            headless::verify(errand, output, &options, typed, signals.wait()).await
        };
        verdict(seat.work(context.global.timeout, None, work).await?)
    })
}

fn options(arguments: VerifyArgs) -> Result<VerifyOptions, Failure> {
    let code = match (arguments.qr, arguments.qr_data_file) {
        (true, _) => Code::Show,
        (false, Some(FileOrStdin::Stdin)) => Code::Typed,
        (false, Some(FileOrStdin::File(path))) => Code::File(read_code, path),
        (false, None) => Code::None,
    };
    let scans = matches!(code, Code::Typed | Code::File(..));
    let compare = if arguments.yes { Comparer::Caller } else { Comparer::Typed };
    if compare == Comparer::Typed && !scans && !secrets::can_ask() {
        let words = "somebody has to compare, and standard input is no terminal; give --yes if \
                     whoever reads the output compares";
        return Err(Failure::say(Exit::Usage, words));
    }
    Ok(VerifyOptions {
        user: arguments.user,
        device: arguments.device.map(Into::into),
        begin: if arguments.accept { Begin::Await } else { Begin::Ask },
        compare,
        code,
        size: rustix::termios::tcgetwinsize(io::stdout()).ok().map(|it| (it.ws_col, it.ws_row)),
    })
}

fn read_code(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_CODE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Lines from standard input, where any are wanted. The thread that reads them ends with the
/// process: a read cannot be called back.
fn typed_lines(options: &VerifyOptions) -> Result<mpsc::Receiver<String>, Failure> {
    let (sender, receiver) = mpsc::channel(TYPED_AHEAD);
    let wanted = options.compare == Comparer::Typed || matches!(options.code, Code::Typed);
    if wanted {
        let read = move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("typed".to_owned()).spawn(read)?;
    }
    Ok(receiver)
}
