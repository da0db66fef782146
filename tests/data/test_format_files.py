"""Text files of strangers, as the formats read them."""

import pytest

from mrcnn.data.formats._files import read_xml
from mrcnn.images.texts import read_json, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_in_the_encodings_that_tools_write(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_text('{"name": "Zürich"}', encoding=encoding)
    assert read_json(path, "a test") == {"name": "Zürich"}


@pytest.mark.parametrize("content", [b"\xff\xff\x00", b"[" * 100_000, b'{"a": ', b"1" * 5000])
def test_a_damaged_json_file_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json cannot be read as a test"):
        read_json(path, "a test")


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><a>&b;</a>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>'


@pytest.mark.parametrize("content", [BOMB, OUTSIDE, "<a>" * 200 + "</a>" * 200, "<a><b></a>", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_damaged_or_hostile_xml_file_is_named(tmp_path, content, encoding):
    path = tmp_path / "a.xml"
    path.write_text(content, encoding=encoding)
    with pytest.raises(ValueError, match=r"a\.xml cannot be read as a test"):
        read_xml(path, "a test")


def test_xml_is_read(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<a><b>1</b></a>", encoding="utf-8")
    assert read_xml(path, "a test").findtext("b") == "1"


@pytest.mark.parametrize("reader", [read_json, read_xml, read_text])
def test_a_missing_file_is_named(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match="nothing"):
        reader(tmp_path / "nothing", "a test")
