"""What importing costs and exports."""

import subprocess
import sys

import aiki.transport


def test_importing_the_package_does_not_import_nats() -> None:
    program = "import sys, aiki.transport, aiki.transport.memory; print('nats' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert result.stdout.strip() == "False"


def test_every_public_name_is_there() -> None:
    for name in aiki.transport.__all__:
        assert getattr(aiki.transport, name) is not None
    assert not hasattr(aiki.transport, "Nonsense")
