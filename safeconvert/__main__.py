from safeconvert.cli import main

main()
