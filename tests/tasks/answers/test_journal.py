from pathlib import Path

from earsight.tasks.answers.journal import Journal


def test_an_item_of_a_journal_counts_with_all_its_rows_or_not_at_all(tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    with Journal(part, {"work": 1}, resume=False) as journal:
        for name in ("a", "b"):
            journal.write({"path": name})
            journal.finish_item()
        whole = part.read_bytes()  # each item is there when it is finished
        assert whole.count(b"done") == 2
        journal.write({"path": "c"})
        assert [row["path"] for row in journal.rows()] == ["a", "b", "c"]
    for behind in (
        b'{"row": {"path": "c"}}\n',
        b'{"row": {"pa',
        b'{"done": 3}',
        b'3\n{"done": 4}\n',
        b'x\n{"done": 4}\n',
    ):
        part.write_bytes(whole + behind)
        with Journal(part, {"work": 1}, resume=True) as journal:
            assert journal.done == 2
        assert part.read_bytes() == whole
