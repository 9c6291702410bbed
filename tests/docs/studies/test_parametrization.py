"""Tables and networks under `lola-dice` and `pola`: logits of the study's tables, and a small study."""

from __future__ import annotations

import pytest
import torch

from docs.studies.parametrization import NetworkTable, main


def test_a_table_has_the_logits_of_its_network() -> None:
    table = NetworkTable(num_observations=5, num_actions=2, hidden_size=3)
    theta = table.initial(torch.Generator().manual_seed(0), 2)  # agents
    assert theta.shape == (2, table.num_parameters) == (2, 5 * 3 + 3 + 3 * 2 + 2)
    found = table.table(theta)
    assert found.shape == (2, 5, 2)
    for observation in range(5):
        alone = table.network.logits(theta, torch.full((2, 1), observation))
        torch.testing.assert_close(found[:, observation], alone[:, 0])


def test_the_table_has_a_line_for_each_method_and_policy(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--seeds", "3", "--steps", "2"])
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| `lola-dice`", "table"],
        ["| `lola-dice`", "network"],
        ["| `pola`", "table"],
        ["| `pola`", "network"],
    ]
    assert all(" of 3 | " in row for row in rows)


def test_a_bad_number_is_one_sentence() -> None:
    with pytest.raises(SystemExit, match=r"proximal.steps must be a whole number, 1 or more"):
        main(["--seeds", "3", "--steps", "0"])
