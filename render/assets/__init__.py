"""Files that a recipe names: meshes, textures, image folders, photometric files."""
