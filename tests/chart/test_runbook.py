"""Does everybody who is woken up find a page? The runbook against the alerts, the reasons and its own index."""

import re
import unittest

import chart
import yaml

RUNBOOK = chart.ROOT / "docs" / "runbook"
SECTIONS = ["What you see", "Why", "How to confirm", "What to do", "What pgreeve does meanwhile"]
# What PostgreSQL refuses has the page of ActionsFailing, a lost connection that of DatabaseUnreachable; the other two say that somebody else is at work, and pass with that.
TOLD_ELSEWHERE = {"ActionFailed", "ConnectionLost", "OtherOperator", "Stale"}


def kebab(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def alert_names():
    groups = yaml.safe_load((chart.CHART / "files" / "alerts.yaml").read_text())["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"]]


def reasons(kind):
    source = (chart.ROOT / "src" / "api" / "reason.rs").read_text()
    return re.findall(rf"^    (\w+): {kind},", source, re.MULTILINE)


def reasons_of_backup_jobs():
    """Reasons that pass by themselves while a Job is tried again, and stall a Backup for good once it is given up."""
    rooms = [chart.ROOT / "src" / "job" / "backup", chart.ROOT / "src" / "storage"]
    sources = [path.read_text() for room in rooms for path in room.rglob("*.rs") if path.name != "tests.rs"]
    named = {name for source in sources for name in re.findall(r"Reason::(\w+)", source)}
    return sorted(named & set(reasons("Waiting")) - TOLD_ELSEWHERE)


class Runbook(unittest.TestCase):
    def pages(self):
        return [path for path in sorted(RUNBOOK.glob("*.md")) if path.name != "README.md"]

    def test_every_alert_and_every_reason_that_can_stall_has_a_page_and_no_page_is_left_over(self):
        wanted = {f"{kebab(name)}.md" for name in alert_names() + reasons("Stalled") + reasons_of_backup_jobs()}
        self.assertEqual({path.name for path in self.pages()}, wanted)

    def test_a_page_of_a_reason_that_stalls_backups_alone_says_so_and_is_led_to_from_where_that_reason_lasts(self):
        self.assertIn("ToolFailed", reasons_of_backup_jobs())
        for name in reasons_of_backup_jobs():
            page = f"{kebab(name)}.md"
            self.assertRegex((RUNBOOK / page).read_text(), r"\A# \w+\n\nA reason .*`Stalled`", page)
            for other in ("policy-not-ready.md", "job-failing.md"):
                self.assertIn(f"]({page})", (RUNBOOK / other).read_text(), other)

    def test_every_reason_that_passes_by_itself_is_told_of_where_it_lasts(self):
        text = (RUNBOOK / "policy-not-ready.md").read_text()
        rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
        # What waits for its database has the alert of the database.
        self.assertEqual(told, set(reasons("Waiting")) - {"DatabaseNotReady"})

    def test_every_page_answers_the_same_five_questions(self):
        for path in self.pages():
            text = path.read_text()
            self.assertEqual(re.findall(r"^## (.*)$", text, re.MULTILINE), SECTIONS, path.name)
            self.assertEqual(f"{kebab(re.match('# (.*)', text)[1])}.md", path.name)

    def test_every_page_has_a_command_to_confirm_with(self):
        for path in self.pages():
            confirm = path.read_text().split("## How to confirm")[1].split("## What to do")[0]
            self.assertIn("```", confirm, path.name)

    def test_the_index_lists_every_page_once(self):
        linked = re.findall(r"^\| \[\w+\]\(([a-z-]+\.md)\)", (RUNBOOK / "README.md").read_text(), re.MULTILINE)
        self.assertEqual(sorted(linked), [path.name for path in self.pages()])

    def test_no_link_between_documents_leads_nowhere(self):
        documents = [*(chart.ROOT / "docs").rglob("*.md"), chart.CHART / "README.md"]
        for path in documents:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
                self.assertTrue((path.parent / target).exists(), f"{path.name}: {target}")


if __name__ == "__main__":
    unittest.main()
