//! Is every damage to a backup that lies in a store seen, and named?

use pgreeve::api::Reason;
use serde_json::json;

use crate::world::{SHOP, World};

#[tokio::test(flavor = "multi_thread")]
async fn one_bit_one_byte_and_what_is_gone_are_seen() {
    let world = World::new(SHOP).await;
    for (number, format) in ["Custom", "Directory", "Plain"].into_iter().enumerate() {
        let mut task = world.task(json!({"format": format, "content": {"globals": number == 0}}));
        task.directory = format.into();
        world.back_up(&task).await.unwrap();
        let data = world
            .files()
            .into_iter()
            .find(|path| path.starts_with(world.volume.path().join(format)) && path.to_string_lossy().contains(".data."))
            .unwrap();
        let good = std::fs::read(&data).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 4;
        for damaged in [flipped, good[..good.len() - 1].to_vec(), vec![]] {
            std::fs::write(&data, damaged).unwrap();
            let blocked = world.verify(&task, "Catalog", json!([])).await.unwrap_err();
            assert_eq!(blocked.reason, Reason::BackupDamaged, "{format}: {}", blocked.message);
            assert!(blocked.message.starts_with("pvc://backups/"), "{}", blocked.message);
        }
        std::fs::remove_file(&data).unwrap();
        assert_eq!(world.verify(&task, "Catalog", json!([])).await.unwrap_err().reason, Reason::BackupDamaged);
        // A Job that is run again does not take it for a backup either.
        assert_eq!(world.back_up(&task).await.unwrap_err().reason, Reason::BackupDamaged);
        std::fs::write(&data, good).unwrap();
        world.verify(&task, "Catalog", json!([])).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_manifest_there_is_no_backup() {
    let world = World::new(SHOP).await;
    let task = world.task(json!({}));
    world.back_up(&task).await.unwrap();
    let manifest = world.files().into_iter().find(|path| path.ends_with("manifest.json")).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    let blocked = world.verify(&task, "Restore", json!([])).await.unwrap_err();
    assert_eq!(blocked.reason, Reason::BackupDamaged);
    assert!(blocked.message.contains("manifest.json is not there"), "{}", blocked.message);
    std::fs::write(&manifest, "{}").unwrap();
    assert!(world.verify(&task, "Catalog", json!([])).await.unwrap_err().message.contains("is no manifest"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_lacks_a_row_is_no_verified_backup() {
    let world = World::new(SHOP).await;
    let task = world.task(json!({}));
    world.back_up(&task).await.unwrap();
    let manifest = world.files().into_iter().find(|path| path.ends_with("manifest.json")).unwrap();
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"rows\": 12400", "\"rows\": 12401")).unwrap();
    let blocked = world.verify(&task, "Restore", json!([])).await.unwrap_err();
    assert_eq!(blocked.reason, Reason::VerificationFailed);
    assert!(blocked.message.contains("public.events_1 has 12400 rows and 12401 were dumped"), "{}", blocked.message);
}
