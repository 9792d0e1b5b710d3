//! A new login on an old account: how long the login takes; how long after the recovery key was
//! typed the messages on screen can be read, and all the others; how long the engine keeps a face
//! waiting meanwhile.
//!
//! `cargo bench --bench restore` starts a `grotto serve`, makes 300 encrypted rooms with 20,100
//! messages of 4,200 sessions, and prints a table; most of its time is the making. Two numbers
//! after `--` are rooms and messages of each; `synapse` there takes a Synapse in its place, which
//! needs the Python environment of `tests/run`.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark reads the clock, prints, and may end when the world is not as made"
)]

#[path = "../../tests/it/served.rs"]
#[expect(dead_code, reason = "the tests' clients")]
mod served;
#[path = "../serve/synapse.rs"]
mod synapse;

mod life;
mod screen;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use life::Size;
use screen::Figures;
use served::{OPEN, Served, resident, runtime};
use synapse::Synapse;

/// Seconds that the messages on screen may take.
const AIM: f64 = 3.0;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|it| it.parse().ok()).collect();
    let size = match numbers[..] {
        [rooms, messages] => Size { rooms, messages },
        _ => Size { rooms: 300, messages: 67 },
    };
    let folder = tempfile::tempdir().unwrap();
    println!("load of this machine: {}", load());
    if std::env::args().any(|it| it == "synapse") {
        let synapse = Synapse::start(&folder.path().join("server"));
        run("Synapse", (&synapse.base, synapse.server), (folder.path(), size));
    } else {
        let data = folder.path().join("server");
        std::fs::create_dir_all(&data).unwrap();
        let served = Served::start(Path::new(life::GROTTO), &data, OPEN);
        run("grotto serve", (&served.base, served.pid()), (folder.path(), size));
    }
}

fn run(name: &str, (base, pid): (&str, u32), (folder, size): (&Path, Size)) {
    let account = runtime().block_on(life::make(base, folder, size));
    println!("made {} sessions; load: {}", account.sessions, load());
    let begun = Instant::now();
    let new = account.log_in_again(folder);
    let login = begun.elapsed();
    let figures = runtime().block_on(screen::watch(&new, &account));
    println!(
        "\n{} rooms, {} messages, {} sessions; load: {}",
        size.rooms,
        size.rooms * size.messages,
        account.sessions,
        load()
    );
    table(name, login, &figures, mib(resident(pid).1));
}

fn table(name: &str, login: Duration, figures: &Figures, server: f64) {
    let Figures { visible, restored, readable, longest, most, answers, before, peak, all } =
        figures;
    let met = if *visible <= AIM { "met" } else { "NOT met" };
    let rows = [
        ("login, with its first sync", format!("{:.2} s", login.as_secs_f64())),
        ("unlock to the messages on screen", format!("{visible:.2} s (aim {AIM:.0} s: {met})")),
        ("unlock to all keys restored", format!("{restored:.2} s")),
        ("unlock to nothing unreadable left", format!("{readable:.2} s")),
        ("every message of every room loaded and read", format!("{all:.1} s")),
        ("longest wait for an answer meanwhile", format!("{:.0} ms", longest * 1e3)),
        ("99 in 100 answers within", format!("{:.0} ms (of {answers})", most * 1e3)),
        ("resident memory before, and at most", format!("{before:.1}, {peak:.1} MB")),
        ("homeserver at most", format!("{server:.0} MB")),
    ];
    println!("| | {name} |\n|---|---|");
    for (what, figure) in rows {
        println!("| {what} | {figure} |");
    }
}

fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap()) / 1024.0
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}
