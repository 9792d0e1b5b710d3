//! What was found, in groups.

use std::{collections::BTreeMap, fmt};

use super::{
    allowed::{DIFFERENCES, Difference},
    call::Body,
    compare::{Answer, Finding},
    pair::Made,
};

/// All findings of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) calls: usize,
    groups: BTreeMap<String, Group>,
    allowed: BTreeMap<usize, usize>,
    /// What the differences that are meant were met for, to see whether they are too broad.
    uses: BTreeMap<(usize, String), usize>,
}

#[derive(Debug, Default)]
struct Group {
    count: usize,
    examples: Vec<String>,
}

impl Report {
    /// Takes what came of a call.
    pub(super) fn add(&mut self, seed: u64, number: usize, made: Made) {
        self.calls += 1;
        if std::env::var("GROTTO_DIFFER_TRACE").is_ok() {
            let Made { call, synapse, serve, .. } = &made;
            eprintln!(
                "{seed}/{number} {:?} {} {:?} {:?} {:?} -> {} | {}",
                call.who,
                call.label(),
                call.arguments,
                call.query,
                call.body,
                whole(synapse),
                whole(serve),
            );
        }
        for finding in &made.findings {
            self.find(seed, number, &made, finding);
        }
    }

    fn find(&mut self, seed: u64, number: usize, made: &Made, finding: &Finding) {
        let wrong = made.call.wrong.unwrap_or("");
        let label = made.call.label();
        let is_meant = |it: &Difference| {
            fits(it.call, &label)
                && fits(it.wrong, wrong)
                && fits(it.place, &finding.place)
                && fits(it.synapse, &finding.synapse)
                && fits(it.serve, &finding.serve)
        };
        if let Some(place) = DIFFERENCES.iter().position(is_meant) {
            *self.allowed.entry(place).or_default() += 1;
            let answers = match finding.place.as_str() {
                "answer" => format!("{} → {}", finding.synapse, finding.serve),
                _ => String::new(),
            };
            let usage = format!("{label} [{wrong}] {} {answers}", finding.place);
            *self.uses.entry((place, usage)).or_default() += 1;
            return;
        }
        let what = if finding.place == "answer" {
            format!("{} → {}", finding.synapse, finding.serve)
        } else {
            String::new()
        };
        let wrong = if wrong.is_empty() { String::new() } else { format!(" [{wrong}]") };
        let group = self.groups.entry(format!("{label}{wrong} {} {what}", finding.place));
        let group = group.or_default();
        group.count += 1;
        if group.examples.len() < 2 {
            let call = &made.call;
            let errors = match finding.place.as_str() {
                "answer" => format!(
                    "{} | {}",
                    trimmed(made.synapse.status, &made.synapse.body),
                    trimmed(made.serve.status, &made.serve.body)
                ),
                _ => format!("{} | {}", finding.synapse, finding.serve),
            };
            let body = match &call.body {
                Body::None => String::new(),
                Body::Json(value) => value.to_string(),
                Body::Raw(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            };
            let body: String = body.chars().take(300).collect();
            group.examples.push(format!(
                "{seed}/{number} {:?} {:?} {:?} {body}\n        {errors}",
                call.who, call.arguments, call.query,
            ));
        }
    }

    /// Whether everything that was found is meant.
    pub(super) fn is_clean(&self) -> bool {
        self.groups.is_empty()
    }

    /// How often each difference that is meant was met.
    pub(super) fn allowed_text(&self) -> String {
        let mut text =
            format!("{} differences that are meant", self.allowed.values().sum::<usize>());
        if std::env::var("GROTTO_DIFFER_USES").is_ok() {
            for ((place, usage), count) in &self.uses {
                text += &format!("\nuse {place} {count} × {usage}");
            }
        }
        text
    }
}

fn whole(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.body)
}

fn trimmed(status: u16, body: &serde_json::Value) -> String {
    format!("{status} {body}").chars().take(400).collect()
}

/// Whether a text is one of these patterns, each of which may end in `*`.
fn fits(patterns: &str, text: &str) -> bool {
    patterns
        .split(" | ")
        .any(|it| it.strip_suffix('*').map_or(it == text, |start| text.starts_with(start)))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, group) in &self.groups {
            writeln!(f, "{:4} × {what}", group.count)?;
            for example in &group.examples {
                writeln!(f, "      {example}")?;
            }
        }
        writeln!(f, "{} kinds of differences", self.groups.len())
    }
}
