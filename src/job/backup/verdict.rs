//! What does it say of a backup that its restore failed? That it cannot be restored; unless something befell the server, the disk or the
//! program that tried it, in which case it says nothing.

use std::path::Path;

use super::child::Ended;
use super::room;
use crate::api::Reason;
use crate::plan::action::Blocked;

/// What is logged of our own doing: a session of ours that came before the server was ready, and those that are still open when we end it.
const OURS: [&str; 3] = [
    "the database system is starting up",
    "the database system is not yet accepting connections",
    "terminating connection due to unexpected postmaster exit",
];

/// Why a database was not filled, or is not what was dumped.
#[derive(Debug)]
pub enum Failure {
    /// `pg_restore` did not end well.
    Refused(Ended),
    /// Anything else.
    Other(Blocked),
}

impl From<Blocked> for Failure {
    fn from(blocked: Blocked) -> Self {
        Self::Other(blocked)
    }
}

impl Failure {
    /// What it amounts to, whoever has failed.
    pub fn blocked(self) -> Blocked {
        match self {
            Self::Refused(Ended { blocked, .. }) | Self::Other(blocked) => blocked,
        }
    }
}

/// What is known of the server on which a restore was tried.
#[derive(Debug)]
pub struct Witness {
    /// Whether it still ran.
    pub runs: bool,
    /// What it logged last: each error in a line that begins with its SQLSTATE.
    pub log: String,
}

impl Witness {
    /// The SQLSTATEs of its last errors, and their messages.
    fn errors(&self) -> impl Iterator<Item = (&str, &str)> {
        let errors =
            self.log.lines().filter(|line| !OURS.iter().any(|ours| line.ends_with(ours))).filter_map(|line| line.split_once(' '));
        errors.filter(|(_, said)| ["ERROR:", "FATAL:", "PANIC:"].iter().any(|level| said.starts_with(level)))
    }

    fn has_room(&self) -> bool {
        !self.errors().any(|(state, said)| state == "53100" || said.ends_with(": Disk quota exceeded"))
    }

    /// Whether an extension said that its library must be there when the server starts. Each does so in words and with a SQLSTATE of its own; what
    /// a restored function raises (P0001) is not taken for it.
    fn lacks_library(&self) -> bool {
        let says = |said: &str| said.contains("shared_preload_libraries") || said.contains("must be preloaded");
        self.errors().any(|(state, said)| ["55000", "F0000", "XX000"].contains(&state) && says(said))
    }

    /// What befell it.
    fn trouble(&self) -> Option<&str> {
        // Its postmaster says so where a process of it was killed, as by a kernel that needs memory.
        let crash = self.log.lines().find(|line| line.contains(") was terminated by signal "));
        let error = self.errors().find(|(state, _)| !speaks(state)).map(|(_, said)| said);
        crash.or(error).or((!self.runs).then_some("it has ended by itself"))
    }
}

/// Whether an error of this SQLSTATE speaks of what was restored, and not of the server that it was restored on: not of resources
/// (class 53), its end (57P) or its file system (58000, 58030). An extension or a library that lacks is 58P01.
pub fn speaks(state: &str) -> bool {
    !["53", "57P"].iter().any(|class| state.starts_with(class)) && !["58000", "58030"].contains(&state)
}

/// What a failure amounts to that came about on a server of our own.
pub fn of(failure: Failure, server: &Witness, scratch: &Path) -> Blocked {
    let refused = matches!(&failure, Failure::Refused(ended) if ended.is_verdict());
    let blocked = failure.blocked();
    if matches!(blocked.reason, Reason::ToolFailed | Reason::ActionFailed | Reason::ConnectionLost) && !server.has_room() {
        return room::full(&format!("the scratch directory {} is full: {}", scratch.display(), blocked.message));
    }
    if (refused || blocked.reason == Reason::VerificationFailed) && server.lacks_library() {
        let message = format!(
            "it could not be tried, since an extension must be loaded when the server starts, and the image of the Job has not its library, or pgreeve \
             does not know that it needs it: {}. Name an image that has it in job.image or the operator's images.postgres; else verify with Catalog",
            blocked.message
        );
        return Blocked::new(Reason::ExtensionMissing, message);
    }
    match server.trouble() {
        None if refused => Blocked::new(Reason::VerificationFailed, format!("it cannot be restored: {}", blocked.message)),
        Some(trouble) if refused => {
            let message = format!(
                "{}; this says nothing of the backup, since the server of the restore was not well: {trouble}",
                blocked.message
            );
            Blocked::new(blocked.reason, message)
        }
        _ => blocked,
    }
}

/// The same of a server that did not come up.
pub fn of_start(blocked: Blocked, scratch: &Path) -> Blocked {
    let is_full = ["No space left on device", "Disk quota exceeded"].iter().any(|said| blocked.message.contains(said));
    if !is_full || blocked.reason == Reason::ScratchFull {
        return blocked;
    }
    room::full(&format!("the scratch directory {} is full: {}", scratch.display(), blocked.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(said: &str, killed: bool, log: &str) -> Reason {
        let blocked = Blocked::new(Reason::ToolFailed, format!("pg_restore ended: {said}"));
        let ended = Ended { blocked, said: said.into(), killed };
        of(Failure::Refused(ended), &Witness { runs: true, log: log.into() }, Path::new("/scratch")).reason
    }

    #[test]
    fn a_server_that_was_not_well_is_named_as_the_reason() {
        let ended = Ended { blocked: Blocked::new(Reason::ToolFailed, "pg_restore ended"), said: String::new(), killed: false };
        let server = Witness { runs: true, log: "53200 ERROR:  out of memory".into() };
        let said = of(Failure::Refused(ended), &server, Path::new("/scratch")).message;
        assert!(said.ends_with("the server of the restore was not well: ERROR:  out of memory"), "{said}");
    }

    #[test]
    fn what_a_dump_holds_is_its_fault_and_what_befalls_its_server_is_not() {
        let cases = [
            ("23514 ERROR:  new row violates check constraint", Reason::VerificationFailed),
            ("58P01 ERROR:  could not access file \"$libdir/postgis-3\": No such file or directory", Reason::VerificationFailed),
            ("0A000 ERROR:  extension \"postgis\" is not available", Reason::VerificationFailed),
            ("22P02 ERROR:  invalid input syntax for type integer: \"No space left on device\"", Reason::VerificationFailed),
            // One worker of two was refused, and the other one told to stop.
            ("23505 ERROR:  duplicate key\n57014 ERROR:  canceling statement due to user request", Reason::VerificationFailed),
            // A session had not ended yet when we ended the server.
            (
                "23514 ERROR:  refused\n57P01 FATAL:  terminating connection due to unexpected postmaster exit",
                Reason::VerificationFailed,
            ),
            // We had asked before the server was ready.
            (
                "57P03 FATAL:  the database system is not yet accepting connections\n23514 ERROR:  refused",
                Reason::VerificationFailed,
            ),
            ("57P03 FATAL:  the database system is starting up\n23514 ERROR:  refused", Reason::VerificationFailed),
            ("55000 ERROR:  pgaudit must be loaded via shared_preload_libraries", Reason::ExtensionMissing),
            ("XX000 ERROR:  pg_cron can only be loaded via shared_preload_libraries", Reason::ExtensionMissing),
            ("F0000 FATAL:  extension \"timescaledb\" must be preloaded", Reason::ExtensionMissing),
            ("P0001 ERROR:  must be loaded via shared_preload_libraries", Reason::VerificationFailed),
            ("00000 LOG:  checkpoints are occurring too frequently", Reason::VerificationFailed),
            ("53100 ERROR:  could not extend file \"base/5/1\": No space left on device", Reason::ScratchFull),
            ("53100 PANIC:  could not write to file \"pg_wal/xlogtemp.7\": No space left on device", Reason::ScratchFull),
            ("58030 ERROR:  could not write to file \"base/5/1\": Disk quota exceeded", Reason::ScratchFull),
            ("53200 ERROR:  out of memory", Reason::ToolFailed),
            ("58030 ERROR:  could not read block 7: Input/output error", Reason::ToolFailed),
            ("57P01 FATAL:  terminating connection due to administrator command", Reason::ToolFailed),
            ("00000 LOG:  server process (PID 7) was terminated by signal 9: Killed", Reason::ToolFailed),
        ];
        for (log, reason) in cases {
            assert_eq!(judged("pg_restore: error: it was refused", false, log), reason, "{log}");
        }
        assert_eq!(judged("", true, ""), Reason::ToolFailed);
        assert_eq!(judged("pg_restore: error: out of memory", false, ""), Reason::ToolFailed);
        assert_eq!(judged("pg_restore: error: unexpected end of file", false, ""), Reason::VerificationFailed);
        let damaged = Failure::Other(Blocked::new(Reason::BackupDamaged, "it is gone"));
        let server = Witness { runs: false, log: String::new() };
        assert_eq!(of(damaged, &server, Path::new("/scratch")).reason, Reason::BackupDamaged);
    }
}
