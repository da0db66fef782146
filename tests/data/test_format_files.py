"""Text files of strangers and sizes of images, as the formats read them."""

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.formats._files import image_size, read_json, read_text, read_xml


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


def test_the_size_of_an_image_is_that_of_the_upright_image(tmp_path):
    image = Image.fromarray(np.zeros((3, 5, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "plain.png")
    assert image_size(tmp_path / "plain.png") == (3, 5)
    assert image_size(tmp_path / "turned.jpg") == (5, 3)
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(ValueError, match=r"text\.png cannot be read as an image"):
        image_size(tmp_path / "text.png")
