"""`mrcnn info`."""

import re


def test_info(cli, tiny_folder):
    code, out, err = cli("info", tiny_folder)
    assert code == 0 and not err
    assert re.search(r"classes +square, circle, triangle", out)
    assert re.search(r"keras +\d", out) and re.search(r"parameters +[\d,]+ ", out)
