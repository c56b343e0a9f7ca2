"""Books: what their bytes say (`encoding`), clean text (`cleaning`), the shelf (`library`), token ids (`dataset`)."""
