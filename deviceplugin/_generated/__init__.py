"""Made by tools/protos.py from deviceplugin/protos; not edited by hand."""
