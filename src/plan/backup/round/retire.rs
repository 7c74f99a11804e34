//! What of a schedule's backups goes, and for which newer one?

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::facts::known;
use super::{Deed, Round, Seen};
use crate::api::Mode;
use crate::api::backup::VerifyLevel;
use crate::api::backup_schedule::BackupScheduleSpec;
use crate::api::policy::PlanStatus;
use crate::plan::backup::keep::{self, Fate, Known, State};
use crate::plan::hex;
use crate::plan::size::bytes;

impl Round {
    /// What no rule keeps goes.
    pub(super) fn retire(
        &mut self,
        spec: &BackupScheduleSpec,
        seen: &[Seen],
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<(), String> {
        let there: Vec<&Seen> = seen.iter().filter(|backup| !backup.is_deleted).collect();
        let known: Vec<Known> = there.iter().map(|backup| known(backup)).collect();
        let fates = keep::fates(&known, spec.retention.as_ref(), zone, now).map_err(|error| format!("retention.{error}"))?;
        let acts = spec.retention.as_ref().is_some_and(|retention| retention.mode == Mode::Apply);
        let mut lines = Vec::new();
        for ((backup, known), fate) in there.iter().zip(&known).zip(&fates) {
            match fate {
                Fate::Stays(_) if backup.leaves_for.is_some() => self.deeds.push(Deed::Spare(backup.name.clone())),
                Fate::Stays(_) => {}
                Fate::Goes(why) => {
                    lines.push(format!("remove {} ({}): {why}", backup.name, bytes(known.bytes)));
                    let replaced_by = replacement(known, &known_stays(&there, &fates));
                    // Without the directory of a newer one, nobody could look whether that is whole.
                    let holds_something = matches!(known.state, State::Complete(_) | State::Doubtful);
                    if acts && (replaced_by.is_some() || !holds_something) {
                        self.deeds.push(Deed::Evict { backup: backup.name.clone(), replaced_by });
                    }
                }
            }
        }
        self.status.plan = plan(lines);
        if acts {
            self.relieve(seen, &known_stays(&there, &fates));
        }
        Ok(())
    }

    /// What could not be removed for a while may have been let go for one that is gone by now: nobody would find that whole.
    fn relieve(&mut self, seen: &[Seen], stays: &[&Seen]) {
        for backup in seen.iter().filter(|backup| backup.is_deleted) {
            let Some(leaves_for) = backup.leaves_for.as_ref().filter(|newer| !newer.is_empty()) else { continue };
            let is_there = |newer: &Seen| newer.status.directory.as_ref() == Some(leaves_for);
            if seen.iter().any(|newer| !newer.is_deleted && is_there(newer)) {
                continue;
            }
            if let Some(replaced_by) = replacement(&known(backup), stays) {
                self.deeds.push(Deed::Relieve { backup: backup.name.clone(), replaced_by });
            }
        }
    }
}

fn known_stays<'a>(there: &[&'a Seen], fates: &[Fate]) -> Vec<&'a Seen> {
    there.iter().zip(fates).filter(|(_, fate)| matches!(fate, Fate::Stays(_))).map(|(backup, _)| *backup).collect()
}

/// Directory of the newest backup in the same place that is as well proven; nothing where the one that goes holds nothing.
fn replacement(old: &Known, stays: &[&Seen]) -> Option<String> {
    let wanted = match old.state {
        State::Complete(level) => level,
        State::Doubtful => VerifyLevel::None,
        State::UnderWay | State::Failed => return None,
    };
    let is_near = |backup: &&&Seen| backup.place == old.place && !backup.foreign;
    let good = stays.iter().filter(is_near);
    let good = good.filter(|backup| matches!(known(backup).state, State::Complete(level) if level >= wanted));
    good.max_by_key(|backup| known(backup).at).and_then(|backup| backup.status.directory.clone())
}

/// What would go, in short.
fn plan(mut lines: Vec<String>) -> Option<PlanStatus> {
    if lines.is_empty() {
        return None;
    }
    let fingerprint = hex(&Sha256::digest(lines.join("\n"))[..8]);
    let count = lines.len();
    lines.truncate(10);
    Some(PlanStatus {
        fingerprint,
        summary: format!("{count} to remove"),
        more: i32::try_from(count - lines.len()).unwrap_or(i32::MAX),
        actions: lines,
    })
}
