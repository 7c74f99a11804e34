//! Which backups do Restores need that have not ended? Those stay, whatever a retention says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::manifest;
use crate::api::Restore;

/// The backups that Restores need, each with the name of a Restore that does.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    backups: BTreeMap<String, String>,
    directories: BTreeMap<String, String>,
    /// Schedules of which a Restore takes the newest backup, and has not said which.
    schedules: BTreeMap<String, String>,
    unread: Option<(String, String)>,
}

impl Uses {
    /// Takes down what a Restore needs.
    pub fn note(&mut self, name: &str, restore: &Restore) {
        let (status, source) = (restore.status.clone().unwrap_or_default(), &restore.spec.source);
        if status.completed_at.is_some() {
            return;
        }
        // What it has chosen is its name or its URL, whichever it was asked for by.
        let asked = source.backup_ref.as_ref().map(|backup| backup.name.clone());
        let urls = [status.backup.clone(), status.chosen.map(|chosen| chosen.url), source.url.clone()];
        let directories: Vec<String> = urls.into_iter().flatten().filter_map(|url| directory(&url)).collect();
        if let Some(schedule) = source.schedule_ref.as_ref().filter(|_| status.backup.is_none() && directories.is_empty()) {
            self.schedules.insert(schedule.name.clone(), name.to_owned());
        }
        self.backups.extend(status.backup.or(asked).map(|backup| (backup, name.to_owned())));
        self.directories.extend(directories.into_iter().map(|directory| (directory, name.to_owned())));
    }

    /// Takes down a Restore that our types cannot read, and why not: unless its status says that it has ended, it may need any backup.
    pub fn note_unread(&mut self, name: &str, status: &Value, why: &str) {
        if !status["completedAt"].is_string() {
            self.unread = Some((name.to_owned(), why.to_owned()));
        }
    }

    /// A Restore that needs this backup of this schedule, or may need it. `url` is that of its manifest.
    pub fn restore(&self, schedule: &str, backup: &str, url: Option<&str>) -> Option<&String> {
        let by_url = || self.directories.get(&directory(url?)?);
        let by_name = self.backups.get(backup).or_else(by_url).or_else(|| self.schedules.get(schedule));
        by_name.or_else(|| self.unread.as_ref().map(|(restore, _)| restore))
    }

    /// What is wrong with a Restore that cannot be read.
    pub fn trouble(&self) -> Option<String> {
        let (restore, why) = self.unread.as_ref()?;
        Some(format!(
            "nothing goes, because Restore {restore} cannot be read and may need any backup: {why}; correct it or delete it"
        ))
    }
}

/// The URL of a backup's directory: that of its manifest without the name.
fn directory(url: &str) -> Option<String> {
    Some(url.strip_suffix(manifest::NAME)?.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const URL: &str = "s3://backups/chat/a-1/manifest.json";

    fn uses(source: Value, status: Value) -> Uses {
        let spec = json!({"databaseRef": {"name": "chat"}, "source": source});
        let restore = json!({"apiVersion": "pgreeve.dev/v1alpha1", "kind": "Restore", "metadata": {"name": "back"}, "spec": spec, "status": status});
        let mut uses = Uses::default();
        uses.note("back", &serde_json::from_value(restore).unwrap());
        uses
    }

    /// Whether it needs backup `a` at [`URL`], and another one elsewhere.
    fn needs(uses: &Uses) -> (bool, bool) {
        let elsewhere = "s3://backups/chat/b-2/manifest.json";
        (uses.restore("nightly", "a", Some(URL)).is_some(), uses.restore("nightly", "b", Some(elsewhere)).is_some())
    }

    #[test]
    fn a_backup_is_needed_by_its_name_until_the_restore_has_ended() {
        let source = json!({"backupRef": {"name": "a"}});
        assert_eq!(needs(&uses(source.clone(), json!({}))), (true, false));
        assert_eq!(needs(&uses(source.clone(), json!({"backup": "a", "step": "Keeping"}))), (true, false));
        assert_eq!(needs(&uses(source, json!({"backup": "a", "completedAt": "2026-11-21T08:00:00Z"}))), (false, false));
    }

    #[test]
    fn a_backup_is_needed_by_its_url() {
        let source = |url: &str| json!({"url": url, "destination": {"s3": {"bucket": "backups"}}});
        assert_eq!(needs(&uses(source(URL), json!({}))), (true, false));
        assert_eq!(needs(&uses(source("s3://backups/chat/a-1//manifest.json"), json!({"backup": URL}))), (true, false));
    }

    #[test]
    fn of_a_schedule_all_are_needed_until_the_restore_has_chosen_one() {
        let source = json!({"scheduleRef": {"name": "nightly"}});
        let waiting = uses(source.clone(), json!({}));
        assert_eq!((needs(&waiting), waiting.restore("weekly", "a", None)), ((true, true), None));
        assert_eq!(needs(&uses(source, json!({"backup": "a"}))), (true, false));
    }

    #[test]
    fn a_restore_that_cannot_be_read_may_need_any_backup_unless_it_has_ended() {
        let mut uses = Uses::default();
        uses.note_unread("odd", &json!({"completedAt": "2026-11-21T08:00:00Z"}), "no strategy Sway");
        assert_eq!((needs(&uses), uses.trouble()), ((false, false), None));
        uses.note_unread("odd", &Value::Null, "no strategy Sway");
        assert_eq!(needs(&uses), (true, true));
        assert!(uses.trouble().unwrap().contains("Restore odd cannot be read and may need any backup: no strategy Sway"));
    }
}
