"""TIFF files: whatever microscopes, scanners and GIS programs write, read as stored.

OpenCV and Pillow read some kinds wrongly without a word, such as planar images of 16 bits and
images of two channels. tifffile is right, but it trusts the sizes in the file: a strip of 4 MB may
decompress to gigabytes. So the tags are read here, each strip or tile is decompressed to the size
that the tags imply and no further, and the tests compare all kinds with tifffile.
"""
