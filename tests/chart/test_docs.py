"""Is what people read about the chart what the chart does? Generated tables against their source."""

import subprocess
import sys
import unittest

import chart


class Generated(unittest.TestCase):
    def test_the_readme_and_the_schema_describe_the_values_as_values_yaml_does(self):
        script = str(chart.ROOT / "hack" / "chart-docs.py")
        done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
