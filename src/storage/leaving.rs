//! What becomes of that which nobody wants any more: objects and parts of what broke off? They are taken away, as far as the store can be
//! reached; whoever was dropped in the middle leaves that to a task of its own.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::Store;

/// What is being taken away.
static LEAVING: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Waits until what was dropped is taken away, as far as the store can be reached, and no longer than this. For the end of a program.
pub async fn settled(limit: Duration) {
    LEAVING.close();
    drop(tokio::time::timeout(limit, LEAVING.wait()).await);
}

/// Does this beside whatever goes on.
pub(super) fn aside(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        LEAVING.spawn_on(work, &runtime);
    }
}

/// Objects that nothing names yet. They are taken away when this is dropped, unless they are kept.
#[derive(Debug)]
pub struct Nameless {
    store: Store,
    keys: Mutex<Vec<String>>,
}

impl Nameless {
    /// None yet.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), keys: Mutex::default() }
    }

    /// There is an object of this key.
    pub fn add(&self, key: String) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    /// Something names them from here on.
    pub fn keep(mut self) {
        self.keys.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Takes them away now. What resists is left: it costs a little, and harms nobody.
    pub async fn take_away(mut self) {
        while let Some(key) = self.keys.get_mut().unwrap_or_else(PoisonError::into_inner).last().cloned() {
            drop(self.store.delete(&key).await);
            self.keys.get_mut().unwrap_or_else(PoisonError::into_inner).pop();
        }
    }
}

impl Drop for Nameless {
    fn drop(&mut self) {
        let keys = std::mem::take(self.keys.get_mut().unwrap_or_else(PoisonError::into_inner));
        if keys.is_empty() {
            return;
        }
        let store = self.store.clone();
        aside(async move {
            for key in keys {
                drop(store.delete(&key).await);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nothing_names_goes_and_what_is_kept_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open_directory(directory.path()).unwrap();
        let make = async || {
            let made = Nameless::new(&store);
            for key in ["a/data", "a/data.2"] {
                store.create(key, b"x".to_vec()).await.unwrap();
                made.add(key.into());
            }
            made
        };
        let there = async || store.list("a").await.unwrap().len();
        make().await.keep();
        assert_eq!(there().await, 2);
        drop(std::fs::remove_dir_all(directory.path().join("a")));
        make().await.take_away().await;
        assert_eq!(there().await, 0);
        drop(make().await);
        settled(Duration::from_secs(30)).await;
        assert_eq!(there().await, 0);
    }
}
