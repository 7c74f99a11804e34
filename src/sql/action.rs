//! Which script carries out an action?

use super::quote::ident;
use super::script::{Script, Step, Transaction};
use super::{partition, removal, rows};
use crate::plan::Action;

/// The script of an action.
pub fn script(action: &Action) -> Script {
    match action {
        Action::CreatePartition(create) => partition::create(create),
        Action::CreateDefault(create) => partition::create_default(create),
        Action::RepairPartition(repair) => partition::repair(repair),
        Action::DropGuard(guard) => partition::drop_guard(guard),
        Action::CreateExtension(extension) => Script {
            steps: vec![Step::Transaction(Transaction {
                // Extensions that name no schema of their own go where PostgreSQL puts them unless told otherwise.
                as_login: vec![
                    "SET LOCAL search_path = public".into(),
                    format!("CREATE EXTENSION IF NOT EXISTS {}", ident(&extension.name)),
                ],
                ..Transaction::default()
            })],
            undo: None,
        },
        Action::ExportPartition(export) => removal::export(export),
        Action::ArchiveRows(rows) => rows::script(rows),
        Action::CreateArchiveTable(create) => rows::create(create),
        Action::ExtendArchiveTable(extend) => rows::extend(extend),
        Action::FinalizeDetach(finalize) => removal::finalize(finalize),
        Action::ReopenPartition(reopen) => removal::reopen(reopen),
        Action::DetachPartition(detach) => removal::detach(detach),
        Action::MoveToArchive(moved) => removal::move_to_archive(moved),
        Action::MoveToSchema(moved) => removal::move_to_schema(moved),
        Action::DropForeignKey(key) => removal::drop_foreign_key(key),
        Action::DropTable(drop) => removal::drop_table(drop),
        // What PostgreSQL's own programs and the store do.
        Action::DumpDatabase(_)
        | Action::VerifyBackup(_)
        | Action::InspectBackup(_)
        | Action::RestoreDump(_)
        | Action::RemoveBackup(_) => Script::default(),
    }
}
