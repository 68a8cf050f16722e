"""The local stack leaves nothing behind, however it ends. Its services are dummies here; the store is real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from visema_client.localstack import LocalStack, LocalStackError, StackOptions
from visema_client.localstack.ports import accepts, free_ports, is_free
from visema_client.localstack.services import ORCHESTRATOR, STAGES

DUMMIES = Path(__file__).parent / "dummies"
PATIENCE_S = 120.0  # for what must happen: a limit for hangs, not for speed
MODULES = dict.fromkeys((*STAGES, ORCHESTRATOR), "dummy_service")

# Starts a stack, tells its folder and processes, and waits for its end.
OWNER = """
import sys, time
from visema_client.localstack import LocalStack, StackOptions
from test_options import options
stack = LocalStack(options).start()
print(stack.folder, *stack.pids.values(), flush=True)
time.sleep(600)
"""


def options_with(folder: Path | None = None, **changed: str) -> StackOptions:
    return StackOptions(
        folder=folder, modules=MODULES | changed, variables={"PYTHONPATH": str(DUMMIES)}, start_timeout_s=PATIENCE_S
    )


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int], paths: list[Path]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if not any(map(is_running, pids)) and not any(path.exists() for path in paths):
            return
        time.sleep(0.05)
    raise AssertionError(
        f"left: {[pid for pid in pids if is_running(pid)]} {[path for path in paths if path.exists()]}"
    )


@pytest.fixture
def owner(tmp_path: Path) -> subprocess.Popen[str]:
    (tmp_path / "test_options.py").write_text(
        f"from visema_client.localstack import StackOptions\n"
        f"options = StackOptions(modules={MODULES!r}, variables={{'PYTHONPATH': {str(DUMMIES)!r}}},"
        f" start_timeout_s={PATIENCE_S})\n"
    )
    (tmp_path / "owner.py").write_text(OWNER)
    return subprocess.Popen([sys.executable, str(tmp_path / "owner.py")], stdout=subprocess.PIPE, text=True)


def test_a_temporary_stack_leaves_no_process_and_no_file() -> None:
    with LocalStack(options_with()) as stack:
        folder, pids, sockets = stack.folder, list(stack.pids.values()), stack._ports.unix_sockets
        assert set(stack.ready_after_s) == {"store", *MODULES}
        assert len(pids) == 6
        assert all(map(is_running, pids))
        assert (folder / "credentials.json").stat().st_mode & 0o077 == 0
        stack.check()
    wait_until_gone(pids, [folder, *sockets])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_an_owner_that_dies(owner: subprocess.Popen[str], how: signal.Signals) -> None:
    folder, *pids = owner.stdout.readline().split()
    assert all(is_running(int(pid)) for pid in pids)
    owner.send_signal(how)
    owner.wait(PATIENCE_S)
    owner.stdout.close()
    wait_until_gone([int(pid) for pid in pids], [Path(folder)])


def test_a_service_that_fails_is_named_with_the_end_of_its_log() -> None:
    stack = LocalStack(options_with(wav2lip="failing_service"))
    with pytest.raises(LocalStackError, match="wav2lip ended with status 7") as caught:
        stack.start()
    assert "the weights are missing" in caught.value.log_tail
    assert caught.value.hint
    assert not stack.pids


def test_a_service_that_dies_later_is_noticed() -> None:
    with LocalStack(options_with()) as stack:
        os.kill(stack.pids["encoder"], signal.SIGKILL)
        wait_until_gone([stack.pids["encoder"]], [])
        with pytest.raises(LocalStackError, match="encoder ended with status -9"):
            stack.check()


def test_a_persistent_stack_keeps_its_folder_and_keys_and_owns_it_alone(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    with LocalStack(options_with(folder)) as stack:
        credentials = (folder / "credentials.json").read_text()
        with pytest.raises(LocalStackError, match="another stack is running"):
            LocalStack(options_with(folder)).start()
        assert accepts(int(stack.store_endpoint.rpartition(":")[2]))
    with LocalStack(options_with(folder)) as stack:
        assert (folder / "credentials.json").read_text() == credentials
    assert folder.is_dir()


def test_a_port_that_is_taken_is_said_before_anything_starts() -> None:
    with LocalStack(options_with()) as running:
        port = int(running.store_endpoint.rpartition(":")[2])
        with pytest.raises(LocalStackError, match=f"port {port} is in use"):
            LocalStack(StackOptions(port=port)).start()


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(map(is_free, ports))


def test_the_users_variables_for_another_stack_do_not_reach_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISEMA_TLS_CERT", "/elsewhere.pem")
    monkeypatch.setenv("VISEMA_S3_ENDPOINT", "http://elsewhere:9000")
    monkeypatch.setenv("VISEMA_ENGINE", "embedded")
    with LocalStack(options_with()) as stack:
        environment = Path(f"/proc/{stack.pids['orchestrator']}/environ").read_bytes().decode().split("\0")
    assert "VISEMA_ENGINE=embedded" in environment
    assert not [entry for entry in environment if "elsewhere" in entry]
    assert any(entry.startswith("VISEMA_DATABASE_URL=sqlite:////") for entry in environment)
