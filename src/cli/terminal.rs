//! What may be shown? Colour, and who is looking.

use std::io::IsTerminal;

use clap::ValueEnum;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The look of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Whether it takes colour.
    pub color: bool,
}

/// The part of a line that a colour sets apart. The text says the same without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// What is added.
    Add,
    /// What changes.
    Change,
    /// What is wrong.
    Bad,
    /// What deserves attention.
    Note,
    /// What names a thing.
    Strong,
    /// What is said aside.
    Faint,
}

impl Look {
    /// The look of stdout.
    pub fn stdout(choice: ColorChoice) -> Self {
        Self::of(choice, std::io::stdout().is_terminal())
    }

    /// The look of stderr.
    pub fn stderr(choice: ColorChoice) -> Self {
        Self::of(choice, std::io::stderr().is_terminal())
    }

    fn of(choice: ColorChoice, is_terminal: bool) -> Self {
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match choice {
            ColorChoice::Auto => is_terminal && !is_refused,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        Self { color }
    }

    /// The text in a tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Add => "32",
            Tone::Change | Tone::Note => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Whether a person can be asked: both ends are a terminal.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
