//! Which kinds can be brought to nothing, and how?

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;

use super::super::objects::unavailable;
use crate::api::Reason;
use crate::plan::action::Blocked;
use crate::plan::restore::check::OWN_KINDS;

/// What is set to bring a kind to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// `spec.replicas` of the object itself, so that it can change together with the annotation.
    Replicas,
    /// The replicas of its subresource `scale`: where in the object they are, only the API server knows.
    Scale,
    /// `spec.suspend`.
    Suspend,
}

/// A kind that can be brought to nothing.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub resource: ApiResource,
    pub how: How,
}

/// Kubernetes' own: kind, API version, plural.
const OWN: [(&str, &str, &str, How); 4] = [
    ("Deployment", "apps/v1", "deployments", How::Replicas),
    ("StatefulSet", "apps/v1", "statefulsets", How::Replicas),
    ("ReplicaSet", "apps/v1", "replicasets", How::Replicas),
    ("CronJob", "batch/v1", "cronjobs", How::Suspend),
];

impl Kind {
    /// The kind of this name; the API server is asked about all that are not Kubernetes' own.
    pub async fn of(client: &Client, api_version: Option<&str>, kind: &str) -> Result<Self, Blocked> {
        if let Some(own) = own(api_version, kind) {
            return Ok(own);
        }
        let Some(api_version) = api_version else {
            let known = OWN_KINDS.join(", ");
            return Err(invalid(format!("workloads: kind {kind} is none of {known}; give its apiVersion")));
        };
        let served = match api_version.contains('/') {
            true => client.list_api_group_resources(api_version).await,
            false => client.list_core_api_resources(api_version).await,
        };
        let served = match served {
            Ok(served) => served.resources,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(invalid(format!("workloads: {kind}: the API server knows no apiVersion {api_version}")));
            }
            Err(error) => return Err(unavailable(&format!("the kinds of {api_version}"), &error)),
        };
        let named = served.iter().find(|served| served.kind == kind && !served.name.contains('/'));
        let Some(named) = named.filter(|named| named.namespaced) else {
            return Err(invalid(format!("workloads: {api_version} has no kind {kind} that lives in a namespace")));
        };
        if !served.iter().any(|served| served.name == format!("{}/scale", named.name)) {
            return Err(invalid(format!(
                "workloads: kind {kind} of {api_version} has no scale, so it cannot be scaled to nothing; stop it yourself"
            )));
        }
        Ok(Self { resource: resource(api_version, kind, &named.name), how: How::Scale })
    }

    /// The objects of this kind in a namespace.
    pub fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &self.resource)
    }

    /// What the operator must be allowed to change to scale one.
    pub fn changed(&self) -> Vec<(&ApiResource, &'static str)> {
        match self.how {
            How::Scale => vec![(&self.resource, ""), (&self.resource, "scale")],
            How::Replicas | How::Suspend => vec![(&self.resource, "")],
        }
    }
}

/// Kubernetes' own kinds that are looked through for what was left behind.
pub(super) fn own_kinds() -> impl Iterator<Item = Kind> {
    OWN.iter().map(|(kind, api_version, plural, how)| Kind { resource: resource(api_version, kind, plural), how: *how })
}

fn own(api_version: Option<&str>, wanted: &str) -> Option<Kind> {
    own_kinds().find(|own| own.resource.kind == wanted && api_version.is_none_or(|version| version == own.resource.api_version))
}

/// A resource of this name.
pub(super) fn resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Whether we may patch such objects, as the API server sees it; the question changes nothing.
pub(super) async fn may_patch(client: &Client, namespace: &str, resource: &ApiResource, subresource: &str) -> kube::Result<bool> {
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some("patch".into()),
        group: Some(resource.group.clone()),
        resource: Some(resource.plural.clone()),
        subresource: Some(subresource.to_owned()).filter(|name| !name.is_empty()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..SelfSubjectAccessReview::default()
    };
    let answer = Api::<SelfSubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// A refusal of what the spec says.
pub(super) fn invalid(message: String) -> Blocked {
    Blocked::new(Reason::InvalidSpec, message)
}

/// The refusal of what would lose its volumes.
pub(super) fn loses_volumes(name: &str) -> Blocked {
    invalid(format!(
        "workloads: StatefulSet {name}: its spec.persistentVolumeClaimRetentionPolicy.whenScaled is Delete, so that its volumes and what is on \
         them would be removed when it is scaled to nothing; set it to Retain, or leave the StatefulSet out"
    ))
}

/// The refusal that an error of the API server about a workload amounts to.
pub(super) fn refused(what: &str, error: &kube::Error) -> Blocked {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => forbidden(what, &status.message),
        _ => unavailable(what, error),
    }
}

/// The refusal of a right that the operator lacks.
pub(super) fn forbidden(what: &str, said: &str) -> Blocked {
    let message = format!("{what}: the operator has no right to it ({said}); grant it with restores.workloads of the chart");
    Blocked::new(Reason::WorkloadForbidden, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_whose_api_version_is_known_are_those_that_validate_knows() {
        assert_eq!(OWN.map(|(kind, ..)| kind), OWN_KINDS);
    }
}
