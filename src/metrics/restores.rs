//! What is shown of a Restore? Whether anybody waits for it.

use super::{Metrics, RestoreLabels, lock};

impl Metrics {
    /// Sets the series of a Restore: workloads that it keeps at nothing, and whether it keeps its database closed.
    pub fn set_restore(&self, labels: &RestoreLabels, workloads_down: usize, is_fenced: bool) {
        lock(&self.restores).insert(labels.clone());
        self.restore_workloads_down.get_or_create(labels).set(i64::try_from(workloads_down).unwrap_or(i64::MAX));
        self.restore_fenced.get_or_create(labels).set(is_fenced.into());
    }

    /// Forgets a Restore that is gone.
    pub fn forget_restore(&self, namespace: &str, restore: &str) {
        lock(&self.restores).retain(|labels| {
            let is_it = labels.namespace == namespace && labels.restore == restore;
            if is_it {
                self.restore_workloads_down.remove(labels);
                self.restore_fenced.remove(labels);
            }
            !is_it
        });
    }

    pub(super) fn forget_all_restores(&self) {
        lock(&self.restores).clear();
        self.restore_workloads_down.clear();
        self.restore_fenced.clear();
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_restore_shows_who_waits_for_it_until_it_is_gone() {
        let metrics = Metrics::new();
        let labels = RestoreLabels { namespace: "shop".into(), database: "orders".into(), restore: "back".into() };
        metrics.set_restore(&labels, 2, true);
        let text = metrics.text(Timestamp::UNIX_EPOCH);
        let shown = r#"{namespace="shop",database="orders",restore="back"}"#;
        assert!(text.contains(&format!("pgreeve_restore_workloads_down{shown} 2")), "{text}");
        assert!(text.contains(&format!("pgreeve_restore_fenced{shown} 1")), "{text}");
        metrics.forget_restore("elsewhere", "back");
        assert!(metrics.text(Timestamp::UNIX_EPOCH).contains("back"));
        metrics.forget_restore("shop", "back");
        assert!(!metrics.text(Timestamp::UNIX_EPOCH).contains("back"));
    }
}
