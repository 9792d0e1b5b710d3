//! Medians, and what the system says of a process and of the disk.

use std::{fs, io::Write, path::Path, time::Instant};

use super::Failure;

/// Prints one line of a table.
#[expect(clippy::print_stdout, reason = "a benchmark prints its table")]
pub(super) fn line(text: &str) {
    println!("{text}");
}

/// The value that `part` (0 to 1) of the values do not exceed; zero without values.
pub(super) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut rank = 0.0;
    let steps = (1..sorted.len()).map(|_| 1.0).sum::<f64>();
    let found = sorted.iter().copied().find(|_| {
        let is_it = steps * part <= rank;
        rank += 1.0;
        is_it
    });
    found.or(sorted.last().copied()).unwrap_or_default()
}

/// Prints what stands above a column of [`times`].
pub(super) fn head(name: &str) {
    line(&format!("\n{name:<52}{:>12}{:>13}{:>13}", "median", "p90", "slowest"));
}

/// Prints milliseconds: median, the value that nine of ten do not exceed, and the largest.
pub(super) fn times(name: &str, seconds: &[f64]) {
    let [half, most, all] = [0.5, 0.9, 1.0].map(|part| quantile(seconds, part) * 1e3);
    line(&format!("{name:<52}{half:>9.1} ms{most:>10.1} ms{all:>10.1} ms"));
}

/// Prints the median of bytes.
pub(super) fn bytes(name: &str, values: &[f64]) {
    line(&format!("{name:<52}{:>9.0} B", quantile(values, 0.5)));
}

/// The seconds that the disk takes for an `fsync` of four pages, in the folder of `beside`.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(super) fn sync_time(beside: &Path) -> Result<f64, Failure> {
    let mut file = fs::File::create(beside.with_file_name("synced"))?;
    file.write_all(&[7; 16 << 10])?;
    let begun = Instant::now();
    file.sync_data()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Resident memory of a process, in MB.
pub(super) fn resident(pid: u64) -> Result<f64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line.and_then(|line| line.split_whitespace().next()).unwrap_or("0").parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Processor time of a process so far, in seconds (of the usual hundred ticks).
pub(super) fn processor(pid: u64) -> Result<f64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    let ticks: Vec<f64> = ticks.collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}
