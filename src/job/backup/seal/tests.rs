//! Is an object exactly what went into it, and is every bit of damage seen?

use std::path::Path;

use serde_json::json;

use super::*;

const KEY: &str = "AGE-SECRET-KEY-1";

fn content() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect()
}

fn identity() -> age::x25519::Identity {
    age::x25519::Identity::generate()
}

fn ours(identity: &age::x25519::Identity) -> Identity {
    use age::secrecy::ExposeSecret as _;
    Identity::read(identity.to_string().expose_secret().as_bytes()).unwrap()
}

fn seals(recipient: &str) -> Vec<Seal> {
    let compression = |method: &str| serde_json::from_value(json!({"method": method})).unwrap();
    let mut seals = Vec::new();
    for method in ["Zstd", "None"] {
        for recipients in [vec![], vec![recipient.to_owned()]] {
            seals.push(Seal::new(compression(method), recipients));
        }
    }
    seals
}

async fn read_back(store: &Store, object: &Object, identity: Option<&Identity>) -> Result<Vec<u8>, Blocked> {
    let (into, mut chunks) = mpsc::channel::<Vec<u8>>(UNDER_WAY);
    let gather = async {
        let mut all = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            all.extend(chunk);
        }
        all
    };
    let key = format!("b/{}", object.name);
    let (opened, all) = tokio::join!(open(store, &key, object, identity, into), gather);
    opened.map(|()| all)
}

async fn written(directory: &Path, seal: &Seal) -> (Store, Object) {
    let store = Store::open_directory(directory).unwrap();
    let source = std::io::Cursor::new(content());
    let object = super::store(&store, "b/data", seal, source, async { Ok(()) }).await.unwrap();
    (store, object)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_in_comes_out_and_every_kind_of_damage_is_seen() {
    let identity = identity();
    for seal in seals(&identity.to_public().to_string()) {
        let directory = tempfile::tempdir().unwrap();
        let (store, object) = written(directory.path(), &seal).await;
        let opener = (!seal.recipients.is_empty()).then(|| ours(&identity));
        assert_eq!(read_back(&store, &object, opener.as_ref()).await.unwrap(), content(), "{seal:?}");
        assert_eq!(object.raw_bytes, 12_000_000);
        let file = directory.path().join("b/data");
        let good = std::fs::read(&file).unwrap();
        assert_eq!(i64::try_from(good.len()).unwrap(), object.bytes);
        let middle = good.len() / 2;
        let flipped =
            |at: usize| good.iter().enumerate().map(|(number, byte)| byte ^ u8::from(number == at)).collect::<Vec<u8>>();
        let damages = [
            good[..good.len() - 1].to_vec(),
            good[..middle].to_vec(),
            vec![],
            flipped(middle),
            flipped(good.len() - 1),
            [good.clone(), vec![0]].concat(),
        ];
        for damage in damages {
            std::fs::write(&file, &damage).unwrap();
            let blocked = read_back(&store, &object, opener.as_ref()).await.unwrap_err();
            assert_eq!(blocked.reason, Reason::BackupDamaged, "{}", blocked.message);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_identity_an_encrypted_object_is_still_known_by_its_sum() {
    let recipient = identity().to_public().to_string();
    let seal = &seals(&recipient)[1];
    let directory = tempfile::tempdir().unwrap();
    let (store, object) = written(directory.path(), seal).await;
    assert_eq!(read_back(&store, &object, None).await.unwrap(), b"");
    let wrong = ours(&identity());
    let refused = read_back(&store, &object, Some(&wrong)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::SecretInvalid, "it may be whole: {}", refused.message);
    assert!(refused.message.contains(&recipient), "{}", refused.message);
    // Not even then is it called a wrong key, where it is damaged.
    std::fs::write(directory.path().join("b/data"), "short").unwrap();
    assert_eq!(read_back(&store, &object, Some(&wrong)).await.unwrap_err().reason, Reason::BackupDamaged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_several_objects_comes_out_as_it_went_in_and_none_of_them_may_lack() {
    let identity = identity();
    // What cannot be compressed: sums of sums.
    let noise: Vec<u8> = (0..700_u32).flat_map(|number| Sha256::digest(number.to_le_bytes()).to_vec()).collect();
    for seal in seals(&identity.to_public().to_string()) {
        let seal = Seal { segment: 5_000, ..seal };
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open_directory(directory.path()).unwrap();
        let source = std::io::Cursor::new(noise.clone());
        let object = super::store(&store, "b/data", &seal, source, async { Ok(()) }).await.unwrap();
        let opener = (!seal.recipients.is_empty()).then(|| ours(&identity));
        assert_eq!(object.segment_bytes, Some(5_000));
        assert!(object.segments().len() > 2, "{object:?}");
        assert_eq!(read_back(&store, &object, opener.as_ref()).await.unwrap(), noise, "{seal:?}");
        for (name, _) in object.segments().into_iter().take(3) {
            let file = directory.path().join("b").join(&name);
            let good = std::fs::read(&file).unwrap();
            std::fs::write(&file, &good[1..]).unwrap();
            assert_eq!(read_back(&store, &object, opener.as_ref()).await.unwrap_err().reason, Reason::BackupDamaged);
            std::fs::remove_file(&file).unwrap();
            assert_eq!(read_back(&store, &object, opener.as_ref()).await.unwrap_err().reason, Reason::BackupDamaged);
            std::fs::write(&file, good).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_approves_becomes_no_object() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_directory(directory.path()).unwrap();
    let refusal = async { Err(Blocked::new(Reason::ToolFailed, "pg_dump ended with signal: 9")) };
    let source = std::io::Cursor::new(content());
    let blocked = super::store(&store, "b/data", &seals("")[0], source, refusal).await.unwrap_err();
    assert_eq!(blocked.reason, Reason::ToolFailed);
    assert_eq!(store.list("b").await.unwrap(), []);
}

#[test]
fn a_secret_key_in_place_of_a_recipient_is_refused_and_not_quoted() {
    let text = format!("{KEY}QQQQ\n");
    let blocked = recipients(text.as_bytes()).unwrap_err();
    assert!(blocked.message.contains("on line 1") && !blocked.message.contains(KEY), "{}", blocked.message);
    assert!(recipients(b"# nobody\n").is_err());
    let one = identity().to_public().to_string();
    assert_eq!(recipients(format!("# ours\n{one}\n").as_bytes()).unwrap(), [one]);
}

#[test]
fn an_identity_is_read_and_never_printed() {
    assert!(Identity::read(b"nothing").is_err());
    let text = {
        use age::secrecy::ExposeSecret as _;
        identity().to_string().expose_secret().to_owned()
    };
    let read = Identity::read(format!("# created: today\n{text}\n").as_bytes()).unwrap();
    assert_eq!(format!("{read:?}"), "Identity(…)");
}
