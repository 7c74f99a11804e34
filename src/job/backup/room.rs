//! Where is there room for what cannot be streamed? In a directory of our own on the scratch volume, gone when it is done with; and where we
//! were killed before that, taken away by the next one who needs room there.
//!
//! Several Jobs may use one volume at once. Who uses a directory holds the lock of a file in it, which the kernel lets go with the process.
//! A volume that knows no locks keeps what a killed Job has left.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::api::Reason;
use crate::plan::action::Blocked;

/// What the names of our directories begin with.
const PREFIX: &str = "pgreeve-";

/// The file whose lock says that somebody uses the directory.
const LOCK: &str = "in-use";

/// A directory of our own.
#[derive(Debug)]
pub struct Room {
    // Let go first: a file that is open cannot be removed everywhere (NFS).
    _lock: Option<File>,
    directory: TempDir,
}

impl Room {
    /// Makes one, after those have been taken away that nobody uses any more.
    ///
    /// # Errors
    /// [`Reason::ScratchFull`] where none can be made.
    pub async fn on(scratch: &Path) -> Result<Self, Blocked> {
        let at = scratch.to_owned();
        let made = tokio::task::spawn_blocking(move || {
            clear(&at);
            Self::made(&at)
        });
        let made = made.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        made.map_err(|error| unusable(scratch, &error))
    }

    fn made(scratch: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(scratch)?;
        // It gets its name when it is locked already: nobody sees one that only seems to be free.
        let (unnamed, name) = (directory.path().join("new"), directory.path().join(LOCK));
        let lock = File::create(&unnamed)?;
        let lock = lock.try_lock().is_ok().then_some(lock);
        if lock.is_some() {
            std::fs::rename(unnamed, name)?
        } else {
            std::fs::remove_file(unnamed)?
        }
        Ok(Self { _lock: lock, directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Takes away what is left of those who were killed. What resists stays: it costs room, and harms nobody.
fn clear(scratch: &Path) {
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    let entries = std::fs::read_dir(scratch).into_iter().flatten().flatten();
    for left in entries.map(|entry| entry.path()).filter(ours) {
        let Ok(lock) = File::options().write(true).open(left.join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            drop(std::fs::remove_dir_all(left));
        }
    }
}

/// The scratch volume does not do what it must.
pub fn unusable(scratch: &Path, error: &io::Error) -> Blocked {
    full(&format!("the scratch directory {} cannot be used: {error}", scratch.display()))
}

/// There is too little room for what somebody tried.
pub fn full(what: &str) -> Blocked {
    Blocked::new(Reason::ScratchFull, format!("{what}; it needs more room (scratch)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_killed_run_has_left_is_taken_away_and_what_another_one_uses_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let living = Room::on(scratch.path()).await.unwrap();
        let mut dead = Room::on(scratch.path()).await.unwrap();
        std::fs::write(living.path().join("dump"), "rows").unwrap();
        // A process that is killed lets go of its locks, and removes nothing.
        dead._lock.take();
        dead.directory.disable_cleanup(true);
        let left = dead.path().to_owned();
        std::fs::write(left.join("dump"), "rows").unwrap();
        drop(dead);
        std::fs::create_dir(scratch.path().join("pgreeve-of-somebody")).unwrap();
        assert!(left.exists());
        let next = Room::on(scratch.path()).await.unwrap();
        assert!(!left.exists() && living.path().join("dump").exists() && next.path().exists());
        drop((next, living));
        let names: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["pgreeve-of-somebody"]);
    }

    #[tokio::test]
    async fn without_a_directory_there_is_no_room() {
        let blocked = Room::on(Path::new("/nowhere")).await.unwrap_err();
        assert_eq!(blocked.reason, Reason::ScratchFull);
        assert!(blocked.message.contains("/nowhere"), "{}", blocked.message);
    }
}
