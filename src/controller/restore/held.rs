//! Who keeps the lock on a database until the status of what was done is written? No other operator acts before that on what it has read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cluster::jobs::Owner;
use crate::postgres::{Session, claim};

/// Sessions with the lock on a database, by the Restore's UID.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<String, Kept>>);

struct Kept {
    namespace: String,
    name: String,
    session: Session,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn keep(&self, owner: &Owner, session: Session) {
        let kept = Kept { namespace: owner.namespace.clone(), name: owner.name.clone(), session };
        self.lock().insert(owner.uid.clone(), kept);
    }

    /// The lock is free when this is over: the next pass may come at once.
    pub async fn release(&self, owner: &Owner) {
        let kept = self.lock().remove(&owner.uid);
        if let Some(kept) = kept {
            claim::give_back(kept.session).await;
        }
    }

    /// Of a Restore that was gone before its status could be written, the lock would stay for ever.
    pub fn forget(&self, namespace: &str, name: &str) {
        let is_its = |_: &String, kept: &mut Kept| kept.namespace == namespace && kept.name == name;
        let gone: Vec<Kept> = self.lock().extract_if(is_its).map(|(_, kept)| kept).collect();
        for kept in gone {
            tokio::spawn(claim::give_back(kept.session));
        }
    }
}
