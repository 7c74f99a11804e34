//! Which workloads are meant by a word of the command line? `Deployment/api`, `cronjob/report`, `Rollout.v1alpha1.argoproj.io/web`.

use crate::api::restore::Workload;

/// What people write for Kubernetes' own kinds, as kubectl lets them.
const OWN: [(&str, &[&str]); 4] = [
    ("Deployment", &["deployment", "deployments", "deploy"]),
    ("StatefulSet", &["statefulset", "statefulsets", "sts"]),
    ("ReplicaSet", &["replicaset", "replicasets", "rs"]),
    ("CronJob", &["cronjob", "cronjobs", "cj"]),
];

/// A kind and a name, or a kind and a label selector.
pub fn parse(text: &str) -> Result<Workload, String> {
    let wrong = || {
        "write KIND/NAME or KIND/SELECTOR, such as Deployment/api, Deployment/tier=backend or Rollout.v1alpha1.argoproj.io/web"
            .to_owned()
    };
    let (kind, which) = text.split_once('/').filter(|(kind, which)| !kind.is_empty() && !which.is_empty()).ok_or_else(wrong)?;
    let (kind, api_version) = match kind.splitn(3, '.').collect::<Vec<_>>()[..] {
        [kind] => (own(kind).ok_or_else(wrong)?.to_owned(), None),
        [kind, version] => (kind.to_owned(), Some(version.to_owned())),
        [kind, version, group] => (kind.to_owned(), Some(format!("{group}/{version}"))),
        _ => return Err(wrong()),
    };
    let is_selector = which.contains(['=', '!', '(', ' ']);
    let (name, selector) = if is_selector { (None, Some(which.to_owned())) } else { (Some(which.to_owned()), None) };
    Ok(Workload { kind, api_version, name, selector })
}

fn own(word: &str) -> Option<&'static str> {
    let lower = word.to_lowercase();
    OWN.iter().find(|(_, words)| words.contains(&lower.as_str())).map(|(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_a_kind_with_a_name_or_a_selector() {
        let workload = |kind: &str, version: Option<&str>, name: Option<&str>, selector: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Ok(Workload { kind: kind.into(), api_version: owned(version), name: owned(name), selector: owned(selector) })
        };
        assert_eq!(parse("Deployment/api"), workload("Deployment", None, Some("api"), None));
        assert_eq!(parse("sts/queue"), workload("StatefulSet", None, Some("queue"), None));
        assert_eq!(parse("cronjob/report"), workload("CronJob", None, Some("report"), None));
        assert_eq!(parse("deploy/tier=backend"), workload("Deployment", None, None, Some("tier=backend")));
        assert_eq!(parse("deploy/app in (a, b)"), workload("Deployment", None, None, Some("app in (a, b)")));
        let rollout = workload("Rollout", Some("argoproj.io/v1alpha1"), Some("web"), None);
        assert_eq!(parse("Rollout.v1alpha1.argoproj.io/web"), rollout);
        let old = workload("ReplicationController", Some("v1"), Some("old"), None);
        assert_eq!(parse("ReplicationController.v1/old"), old);
        for wrong in ["api", "Deployment/", "/api", "Rollout/web"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
