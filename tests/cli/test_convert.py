"""`mrcnn convert`."""

import json


def test_convert_there_and_back(cli, tmp_path, monkeypatch):
    from families import torchvision_arrays

    from mrcnn.weights.files.tensors import write_safetensors

    monkeypatch.chdir(tmp_path)
    write_safetensors("net.safetensors", torchvision_arrays(tmp_path))
    code, out, _ = cli("convert", "net.safetensors")
    assert code == 0 and "resnet18, 5 classes, dialect torchvision" in out
    assert json.loads((tmp_path / "net" / "config.json").read_text())["NUMERICS"] == "torchvision"
    code, out, _ = cli("convert", "net", "--to", "torchvision")
    assert code == 0 and "net_torchvision.safetensors" in out
    back = (tmp_path / "net_torchvision.safetensors").read_bytes()
    assert back == (tmp_path / "net.safetensors").read_bytes()
    code, _, err = cli("convert", "net.safetensors")
    assert code == 2 and "net exists already: give another --output" in err
    code, _, err = cli("convert", "no-such-model")
    assert code == 2 and 'a name that "mrcnn download" lists' in err
