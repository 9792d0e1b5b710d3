//! A new login on an old account: how long after the recovery key was typed the messages on screen
//! can be read, and all the others; how long the engine keeps a face waiting meanwhile.
//!
//! `cargo bench --bench restore` starts a `grotto serve`, makes 300 encrypted rooms with 20,000
//! messages of 4,200 sessions, and prints a table; most of its time is the making. Two numbers
//! after `--` are rooms and messages of each.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark reads the clock, prints, and may end when the world is not as made"
)]

#[path = "../../tests/it/served.rs"]
#[expect(dead_code, reason = "the tests' clients")]
mod served;

mod life;
mod screen;

use std::path::Path;

use life::Size;
use served::{OPEN, Served, resident, runtime};

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let size = match numbers[..] {
        [rooms, messages] => Size { rooms, messages },
        _ => Size { rooms: 300, messages: 67 },
    };
    let folder = tempfile::tempdir().unwrap();
    println!("load of this machine: {}", load());
    let server = folder.path().join("server");
    std::fs::create_dir_all(&server).unwrap();
    let served = Served::start(Path::new(life::GROTTO), &server, OPEN);
    let account = runtime().block_on(life::make(&served.base, folder.path(), size));
    println!("made {} sessions; load: {}", account.sessions, load());
    let new = account.log_in_again(folder.path());
    let figures = runtime().block_on(screen::watch(&new, &account));
    println!(
        "{} rooms, {} messages, {} sessions",
        size.rooms,
        size.rooms * size.messages,
        account.sessions
    );
    println!("unlock to the messages on screen    {:>8.2} s", figures.visible);
    println!("unlock to all keys restored         {:>8.2} s", figures.restored);
    println!("unlock to nothing unreadable left   {:>8.2} s", figures.readable);
    println!("longest wait for an answer meanwhile{:>8.0} ms", figures.longest * 1e3);
    println!("of {} answers, 99 in 100 within     {:>8.0} ms", figures.answers, figures.most * 1e3);
    println!("resident memory before and at most  {:>8.1} {:.1} MB", figures.before, figures.peak);
    println!("homeserver at most                  {:>8.1} MB", mib(resident(served.pid()).1));
    println!("load: {}", load());
}

fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap()) / 1024.0
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}
