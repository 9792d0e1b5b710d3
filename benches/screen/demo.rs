//! From the start of `grotto demo` to a conversation that can be answered: three devices made,
//! three engines connected, keys exchanged, the guide's words decrypted and on the screen.

use serde_json::{Value, json};

use super::{
    Failure,
    rig::{GROTTO, Terminal},
    stats,
};

const RUNS: usize = 15;
/// The end of what the guide says first, and the count of all that was said in the group.
const FIRST: &str = "1/16";
const ALL: &str = "   23";

pub(super) fn measure() -> Result<(), Failure> {
    let (mut first, mut all, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let [at_first, at_all, resident] = look()?;
        // The first run reads the program from the disk.
        if run > 0 {
            first.push(at_first);
            all.push(at_all);
            memory.push(resident);
        }
    }
    stats::head(&format!("demo: a server, three engines, {RUNS} runs"));
    stats::times("start to the guide's first words", &first);
    stats::times("start to all 23 messages of the group", &all);
    let resident = stats::quantile(&memory, 0.5);
    stats::line(&format!("{:<52}{resident:>9.1} MB", "resident memory, all of it"));
    Ok(())
}

/// One start.
fn look() -> Result<[f64; 3], Failure> {
    let mut terminal = Terminal::start((80, 24), &[GROTTO, "demo"], &[]);
    let mut at = |text: &str| {
        let seen = terminal.ask(&json!({ "do": "wait", "text": text, "ms": 10_000 }));
        let found = seen["found"] == true;
        let time = seen["since_start"].as_f64().filter(|_| found);
        time.ok_or_else(|| format!("{text:?} is not on the screen: {}", seen["lines"]))
    };
    let (first, all) = (at(FIRST)?, at(ALL)?);
    let pid = terminal.ask(&json!({ "do": "pid" })).get("pid").and_then(Value::as_u64);
    let resident = stats::resident(pid.ok_or("no process")?)?;
    terminal.signal("SIGTERM");
    terminal.exit_status();
    Ok([first, all, resident])
}
