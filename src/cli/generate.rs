//! Completion scripts and the manual page, made from the same types as the parser.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Cli;

/// Writes the completion script of `shell`.
///
/// # Errors
/// When `out` cannot be written.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "grotto", &mut script);
    out.write_all(&script)
}

/// Writes one manual page for the program and all its commands (roff, section 1).
///
/// # Errors
/// When `out` cannot be written.
pub fn manual(out: &mut dyn Write) -> io::Result<()> {
    let mut program = Cli::command();
    program.build();
    let page = Man::new(program.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    let mut commands = Vec::new();
    page.render_subcommands_section(&mut commands)?;
    // They are sections of this page, no pages of their own.
    let commands = String::from_utf8_lossy(&commands).replace("grotto\\-", "grotto ");
    out.write_all(commands.replace("(1)", "").as_bytes())?;
    page.render_options_section(out)?;
    notes(&program, ".SH", out)?;
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(command, out)?;
    }
    page.render_version_section(out)
}

/// One section for a command, then one for each below it.
fn describe(command: &clap::Command, out: &mut dyn Write) -> io::Result<()> {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    writeln!(out, ".SH \"{}\"", name.to_uppercase())?;
    let own = without_inherited(command.clone());
    let page = Man::new(own);
    let mut text = Vec::new();
    page.render_description_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_options_section(&mut text)?;
    for line in String::from_utf8_lossy(&text).lines() {
        match line.strip_prefix(".SH ") {
            Some("DESCRIPTION") => {}
            Some(section) => writeln!(out, ".SS {section}")?,
            None => writeln!(out, "{line}")?,
        }
    }
    notes(command, ".SS", out)?;
    command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
        .try_for_each(|below| describe(below, out))
}

/// Hides what every command has and the program's own section already says.
fn without_inherited(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let everywhere =
            arg.is_global_set() || ["help", "version"].contains(&arg.get_id().as_str());
        if everywhere { arg.hide(true) } else { arg }
    })
}

/// The text after a command's help: a line at the margin that ends in a colon opens a section,
/// lines that are set in stay as they are.
fn notes(command: &clap::Command, heading: &str, out: &mut dyn Write) -> io::Result<()> {
    let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    writeln!(out, ".PP")?;
    for line in text.lines() {
        let escaped = line.replace('\\', "\\e").replace('-', "\\-");
        match (line.strip_suffix(':'), line.starts_with(' ')) {
            (Some(title), false) => writeln!(out, "{heading} \"{}\"", title.to_uppercase())?,
            (_, true) => writeln!(out, ".nf\n{escaped}\n.fi")?,
            (None, false) if line.is_empty() => writeln!(out, ".PP")?,
            (None, false) => {
                let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
                writeln!(out, "{guard}{escaped}")?;
            }
        }
    }
    Ok(())
}
