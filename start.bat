@echo off
rem Double click: sets up what is needed and starts the AZR Model Trainer. All the work is in start.py.
rem A Python counts when it runs: the python.exe that Windows puts there for its store does not.
rem The Russian sentences stand in the last block, read in one piece: cmd may lose its place after such letters.
setlocal
chcp 65001 >nul
set "PYTHONUTF8=1"
cd /d "%~dp0"

set "PYTHON="
py -3 -c "import sys" >nul 2>nul
if "%ERRORLEVEL%"=="0" set "PYTHON=py -3"
if defined PYTHON goto found
python -c "import sys; sys.exit(sys.version_info < (3, 6))" >nul 2>nul
if not "%ERRORLEVEL%"=="0" goto no_python
set "PYTHON=python"

:found
%PYTHON% "%~dp0start.py" %*
set "STATUS=%ERRORLEVEL%"
if not "%STATUS%"=="0" pause
exit /b %STATUS%

:no_python
(
echo Python is not installed. Install Python 3.14, 64-bit, from https://www.python.org/downloads/
echo Then double-click start.bat again.
echo Python не установлен. Установите 64-битный Python 3.14 с https://www.python.org/downloads/
echo Затем снова дважды щёлкните start.bat.
pause
exit /b 1
)
