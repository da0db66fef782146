"""`mrcnn download`, without a network; tests/weights/test_download.py has the rest."""


def test_download_lists_all_weights(cli):
    code, out, _ = cli("download")
    assert code == 0 and "coco-detectron2-r101-3x" in out and "coco-matterport" in out
    code, _, err = cli("download", "coco")
    assert code == 2 and "There are: coco-torchvision-r50" in err


def test_a_misspelled_name_gets_a_suggestion(cli):
    code, _, err = cli("download", "coco-torchvison-r50")
    assert code == 2 and "Did you mean coco-torchvision-r50?" in err
