"""Do the statements of the runbook do what its pages say? Each block of SQL, on a real PostgreSQL, over a table that needs it."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import chart

RUNBOOK = chart.ROOT / "docs" / "runbook"
BIN = pathlib.Path(os.environ.get("PGREEVE_CACHE", "/var/cache/pgreeve")) / "postgres" / "17" / "bin"

# What a reader would fill in.
NAMES = {
    "SCHEMA.TABLE": "public.events",
    "SCHEMA": "public",
    "TABLE": "events",
    "COLUMN": "created_at",
    "OWNER": "table_owner",
    "ROLE": "pgreeve",
    "USER": "pgreeve",
    "NAME": "pg_trgm",
    "LOWER": "2027-01-01 00:00+00",
    "UPPER": "2027-02-01 00:00+00",
}

# A table with a default partition, owned by a role that may log in nowhere; and a plain one.
TABLES = """
DROP SCHEMA IF EXISTS public CASCADE;
CREATE SCHEMA public AUTHORIZATION table_owner;
SET ROLE table_owner;
CREATE TABLE public.events (id bigint GENERATED ALWAYS AS IDENTITY, created_at timestamptz NOT NULL, body text, PRIMARY KEY (id, created_at))
    PARTITION BY RANGE (created_at);
CREATE TABLE public.events_default PARTITION OF public.events DEFAULT;
CREATE TABLE public.chat_history (id bigint, created_at timestamptz NOT NULL, PRIMARY KEY (id, created_at));
RESET ROLE;
"""
ROLES = "CREATE ROLE table_owner; CREATE ROLE pgreeve LOGIN; GRANT table_owner TO pgreeve;"
LATE_ROWS = "INSERT INTO public.events (created_at, body) VALUES ('2027-01-05 12:00+00', 'late'), ('2027-03-01 00:00+00', 'later');"


def blocks(page):
    found = re.findall(r"^```sql\n(.*?)^```", (RUNBOOK / page).read_text(), re.MULTILINE | re.DOTALL)
    names = re.compile("|".join(sorted(NAMES, key=len, reverse=True)))
    # Names in capitals stand alone or before an underscore, as in SCHEMA.TABLE_default; key words such as ALTER TABLE do not follow a quote or dot.
    return [re.sub(rf"(?<=['\".])({names.pattern})|\bSCHEMA\.TABLE", lambda m: NAMES[m[0]], block) for block in found]


class Statements(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="pgreeve-runbook-"))
        cls.as_nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
        if cls.as_nobody:
            os.chown(cls.directory, 65534, 65534)
        initdb = [str(BIN / "initdb"), "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D", str(cls.directory / "data")]
        subprocess.run(initdb, check=True, capture_output=True, cwd=cls.directory, **cls.as_nobody)
        cls.execute(ROLES.replace("; ", ";\n\n"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory, ignore_errors=True)

    @classmethod
    def execute(cls, *scripts):
        """Runs each script as one message to a server without a listener, and returns what it printed."""
        postgres = [str(BIN / "postgres"), "--single", "-j", "-F", "-D", str(cls.directory / "data"), "postgres"]
        text = "".join(re.sub(r"\n{2,}", "\n", script.strip()).rstrip(";") + ";\n\n" for script in scripts if script.strip())
        done = subprocess.run(postgres, input=text, capture_output=True, text=True, cwd=cls.directory, **cls.as_nobody)
        errors = [line for line in done.stderr.splitlines() if "ERROR:" in line or "FATAL:" in line]
        if done.returncode != 0 or errors:
            raise AssertionError("\n".join(errors) or done.stderr)
        return done.stdout

    def partition_of(self, moment):
        """Where the row of that moment lies."""
        out = self.execute(f"SELECT tableoid::regclass AS place FROM public.events WHERE created_at = '{moment}'")
        return re.findall(r'place = "([^"]*)"', out)

    def test_every_statement_runs(self):
        for path in sorted(RUNBOOK.glob("*.md")):
            for number, block in enumerate(blocks(path.name)):
                with self.subTest(page=path.name, block=number):
                    self.execute(TABLES, LATE_ROWS if path.name == "default-rows.md" else "", block)

    def test_rows_move_out_of_the_default_partition_into_one_of_their_own(self):
        _, move = blocks("default-rows.md")
        self.execute(TABLES, LATE_ROWS, move)
        self.assertEqual(self.partition_of("2027-01-05 12:00+00"), ["events_y2027m01"])
        self.assertEqual(self.partition_of("2027-03-01 00:00+00"), ["events_default"])

    def test_a_partition_made_by_hand_belongs_to_the_owner_of_its_table(self):
        for page in ("default-rows.md", "default-busy.md", "partition-horizon-critical.md"):
            (create,) = [block for block in blocks(page) if "ATTACH" in block]
            out = self.execute(TABLES, create, "SELECT relowner::regrole AS owner FROM pg_class WHERE relispartition AND relname LIKE 'events_y%'")
            self.assertIn('owner = "table_owner"', out, page)

    def test_a_partition_by_hand_is_refused_while_its_rows_are_in_the_default_one(self):
        (create,) = [block for block in blocks("partition-horizon-critical.md") if "ATTACH" in block]
        with self.assertRaisesRegex(AssertionError, "would be violated by some row"):
            self.execute(TABLES, LATE_ROWS, create)

    def test_an_unwanted_default_partition_is_gone_afterwards(self):
        detach = blocks("default-forbidden.md")[-1]
        out = self.execute(TABLES, detach, "SELECT count(*) AS left_over FROM pg_class WHERE relname = 'events_default'")
        self.assertIn('left_over = "0"', out)

    def test_a_plain_table_becomes_a_partitioned_one_of_the_same_name(self):
        out = self.execute(TABLES, blocks("not-partitioned.md")[-1], "SELECT pg_get_partkeydef('public.chat_history'::regclass) AS key")
        self.assertIn('key = "RANGE (created_at)"', out)


if __name__ == "__main__":
    unittest.main()
