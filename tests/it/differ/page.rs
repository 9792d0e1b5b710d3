//! The list of differences as the page in `docs/`, and what no entry of it may say.

use super::allowed::DIFFERENCES;

/// `docs/serve-differences.md` as it has to be.
fn document() -> String {
    let mut text = DOCUMENT.to_owned();
    for it in DIFFERENCES {
        let cell = |patterns: &str| {
            let cells: Vec<String> =
                patterns.split(" | ").map(|pattern| format!("`{pattern}`")).collect();
            cells.join("<br>")
        };
        let (call, place) = (cell(it.call), cell(it.place));
        let (synapse, serve) = (cell(it.synapse), cell(it.serve));
        text += &format!("| {call} | {place} | {synapse} | {serve} | {} |\n", it.reason);
    }
    text
}

const DOCUMENT: &str = "\
# Where `grotto serve` answers otherwise than Synapse

A test (`tests/it/differ`) makes the same random calls, right and wrong ones, at both and compares status, errcode, body, and what
everybody then sees of the rooms. What may differ stands here, with the reason; the test fails for anything else, and when this page
is not the list that it uses. None of it is a rule of who may read, send, join or see: where the two differ on that, serve is the
stricter one, and the test refuses an entry that lets something through which Synapse refuses.

`*` stands for anything, `{}` for an argument, `answer` for status and errcode, `event.` for a field of any event, `[fewer]` for a list
that is shorter here.

| calls | where | Synapse | serve | why |
|---|---|---|---|---|
";

#[test]
fn the_list_of_differences_is_the_page_in_docs() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/serve-differences.md");
    if std::env::var("GROTTO_DIFFER_WRITE").is_ok() {
        std::fs::write(&path, document()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), document());
}

#[test]
fn no_difference_lets_through_what_synapse_refuses() {
    let is_about_the_form = |synapse: &str| {
        synapse.split(" | ").all(|it| it.starts_with("400 ") || it.starts_with("413 "))
    };
    for it in DIFFERENCES.iter().filter(|it| it.place == "answer") {
        let lets_through = it.serve.split(" | ").any(|serve| serve.starts_with(['2', '*']));
        assert!(!lets_through || is_about_the_form(it.synapse), "{}: {}", it.call, it.reason);
    }
    for it in DIFFERENCES.iter().filter(|it| it.place != "answer") {
        let shows_more = |place: &str| {
            place.contains("[more]") && !place.contains("device_lists.changed")
                || place.ends_with("events*")
        };
        assert!(!it.place.split(" | ").any(shows_more), "{}", it.reason);
    }
}
